"""Members are trained as each would be alone, and what they see is averaged."""

import numpy as np
import pytest
import torch

from feel_steps.attend import attend
from feel_steps.errors import InputError
from feel_steps.localizers import LOCALIZERS, weights
from feel_steps.train import train
from tests.tiny import make_snippets, make_videos


@pytest.mark.parametrize("name", LOCALIZERS)
def test_outputs_are_means_and_embeddings_stand_side_by_side(name):
    model = weights.build(name, 6, 2, members=3, adapter=4, hidden=8).eval()
    x = torch.rand(2, 9, 6)
    seen, each = model(x), [member(x) for member in model.members]
    for output in ("video_scores", "actionness", "activation", "adapted"):
        mean = sum(one[output] for one in each) / 3
        torch.testing.assert_close(seen[output], mean)
    torch.testing.assert_close(seen["embedding"], torch.cat([one["embedding"] for one in each], 2))


@pytest.mark.parametrize("name", LOCALIZERS)
def test_a_member_gets_the_gradient_that_it_would_get_alone(name):
    """Else more members would mean a smaller step against the weight decay."""
    model, x, y = weights.build(name, 6, 2, members=2, hidden=8).eval(), torch.rand(4, 9, 6), torch.eye(2).repeat(2, 1)
    losses = model.loss(model(x), y)
    losses["loss"].backward()
    for member in model.members:
        together = [weight.grad.clone() for weight in member.parameters()]
        member.zero_grad()
        member.loss(member(x), y)["loss"].backward()
        for ours, alone in zip(together, member.parameters(), strict=True):
            torch.testing.assert_close(ours, alone.grad)
    assert losses["action"].item() == pytest.approx(
        np.mean([member.loss(member(x), y)["action"].item() for member in model.members]), rel=1e-5
    )


def test_members_differ_repeat_and_are_read_again(tmp_path):
    snippets = make_snippets()

    def run():
        return train(
            snippets, np.arange(6), np.arange(6) % 2, clusters=2, settings={"hidden": 8, "members": 2}, steps=15,
            batch=4, length=20, threads=1,
        )[0]  # fmt: skip

    model = run()
    first, second = (member.actionness_module["f_embed"][0].weight for member in model.members)
    assert not torch.equal(first, second)
    weights.save(model, tmp_path / "model.safetensors")
    assert weights.name_of(model) == "cola"
    again = weights.load(tmp_path / "model.safetensors")
    for one, other in ((model, again), (model, run())):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name])
    attention, embeddings = attend(again, snippets, make_videos(snippets), threads=1)
    assert np.isfinite(attention["activation"]).all() and embeddings["feature"].shape == (6, 16)


def test_no_member_is_no_localizer():
    with pytest.raises(InputError, match="setting 'members' is 0; expected a whole number of 1 or more"):
        weights.build("cola", 6, 2, members=0)
