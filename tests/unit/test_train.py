"""Training learns, repeats, goes on after a stop, and refuses what it cannot use."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from feel_steps import train as training
from feel_steps.errors import InputError
from feel_steps.localizers import weights
from feel_steps.train import Adam, Batches, sample_positions, train
from tests.tiny import make_snippets

TINY = {"hidden": 16}


def run(snippets=None, labels=(0, 1, 0, 1, 0, 1), **options):
    snippets = snippets or make_snippets()
    chosen = {"clusters": 2, "settings": TINY, "steps": 25, "batch": 4, "length": 20, "threads": 1} | options
    return train(snippets, np.arange(len(labels)), np.array(labels), **chosen)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_samples_stay_in_their_cell_of_the_video(own, T, seed):
    jitter = torch.rand(3, T, generator=torch.Generator().manual_seed(seed))
    places = sample_positions(torch.full((3,), own), T, jitter).numpy()
    first = np.arange(T) * own // T
    last = np.minimum((np.arange(T) + 1) * own // T, own - 1)
    assert (places >= first).all()
    assert (places <= last).all()
    if own == T:
        assert (places == np.arange(T)).all()


def test_jitter_reaches_every_snippet():
    """A cell that were cut short would hide snippets from training for ever."""
    places = sample_positions(torch.full((500,), 23), 5, torch.rand(500, 5, generator=torch.Generator().manual_seed(0)))
    assert set(places.flatten().tolist()) == set(range(23))


@pytest.mark.parametrize(("videos", "batch"), [(7, 3), (3, 7), (1, 4), (6, 6)])
def test_each_epoch_sees_every_video_once(videos, batch):
    snippets = make_snippets([4] * videos)
    batches = Batches(snippets, np.arange(videos), np.eye(videos, dtype=np.float32), batch, 2, 0, torch.device("cpu"))
    seen = np.concatenate([batches.videos(step) for step in range(videos)])  # as many epochs as the batch holds
    for epoch in seen.reshape(-1, videos):
        assert sorted(epoch) == list(range(videos))


def test_a_batch_holds_the_features_and_labels_of_its_videos():
    snippets = make_snippets()
    rows, labels = np.array([4, 1, 3]), np.eye(3, dtype=np.float32)
    batches = Batches(snippets, rows, labels, 3, 8, 0, torch.device("cpu"))
    x, y = batches.draw(0)
    for video, features, label in zip(batches.videos(0), x.numpy(), y.numpy(), strict=True):
        own = snippets.video(rows[video])
        assert all((own == feature).all(1).any() for feature in features)
        assert label.argmax() == video


def test_it_learns_which_snippets_are_action():
    model, table = run(steps=100, learning_rate=5e-3)
    assert table["loss"][-1] < table["loss"][0] / 3
    assert list(table) == ["step", "loss", "learning_rate", "action", "contrast"]
    assert table["step"].tolist() == list(range(10, 101, 10))
    seen = model(torch.from_numpy(make_snippets(seed=1).video(3))[None])
    assert seen["video_scores"].argmax() == 1
    assert seen["actionness"][0, 16:29].mean() > 2 * seen["actionness"][0, :14].mean()


def test_the_optimizer_is_pytorchs_adam():
    """Ours works on the memory behind the weights; a wrong layout there would train something else, silently."""
    models = [weights.build("cola", 5, 2, hidden=8, dropout=0.0, contrast_dropout=0.0) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    ours = Adam(models[0].parameters(), 1e-2, 0.1)
    theirs = torch.optim.Adam(models[1].parameters(), lr=1e-2, weight_decay=0.1)
    x, y = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(0)), torch.eye(2)[[0, 1, 1]]
    for _ in range(5):
        ours.descend(models[0].loss(models[0](x), y)["loss"])
        theirs.zero_grad()
        models[1].loss(models[1](x), y)["loss"].backward()
        theirs.step()
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("videos", "expected"), [(10, 300), (200, 300), (400, 600), (401, 602), (2000, 3000), (10**6, 3000)]
)
def test_steps_follow_the_videos_within_limits(videos, expected):
    """Few videos would get too few steps to learn anything, many would train for days."""
    assert training.count_steps(videos, batch=16, epochs=24, least=300, most=3000) == expected


def test_without_steps_the_epochs_decide_and_the_log_says_how_long(capsys):
    table = run(steps=None, epochs=10, least_steps=1)[1]
    assert table["step"][-1] == 15  # 10 epochs of 6 videos, 4 a step
    log = capsys.readouterr().err
    assert "6 videos, 15 steps (10 epochs)" in log and "training: will take about" in log


def test_the_last_steps_have_a_row_of_their_own():
    assert run(steps=23)[1]["step"].tolist() == [10, 20, 23]


def test_the_same_seed_gives_the_same_weights_and_another_others():
    assert same(run()[0], run()[0])
    assert not same(run()[0], run(seed=1)[0])


def test_what_else_draws_random_numbers_does_not_matter():
    first = run()[0]
    torch.manual_seed(5)
    torch.rand(7)
    assert same(run()[0], first)


def test_a_video_with_two_clusters_is_one_video_with_two_labels():
    """Videos of two actions train both classes; the order of their entries must not matter."""
    rows, labels = np.array([0, 1, 0, 2]), np.array([0, 1, 1, 0])
    videos, targets = training.to_targets(rows, labels, 2)
    assert videos.tolist() == [0, 1, 2] and targets.tolist() == [[1, 1], [0, 1], [1, 0]]
    shuffled = training.to_targets(rows[[0, 1, 3, 2]], labels[[0, 1, 3, 2]], 2)
    assert all(np.array_equal(a, b) for a, b in zip((videos, targets), shuffled, strict=True))
    with pytest.raises(InputError, match="cluster 2 among the selected videos, but there are 2 clusters"):
        training.to_targets(np.array([0, 1]), np.array([0, 2]), 2)


@pytest.mark.parametrize("settings", [TINY, TINY | {"adapter": 4}], ids=["plain", "adapter"])
def test_a_killed_training_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, settings):
    whole, table = run(steps=35, settings=settings)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "checkpoint.safetensors"

    class Killed(Exception):
        pass

    def killing(draw, count=[0]):  # noqa: B006
        def killed(self, step):
            count[0] += 1
            if count[0] in (5, 20, 33):
                raise Killed
            return draw(self, step)

        return killed

    monkeypatch.setattr(Batches, "draw", killing(Batches.draw))
    for _ in range(3):
        with pytest.raises(Killed):
            run(steps=35, settings=settings, checkpoint=path)
    resumed, again = run(steps=35, settings=settings, checkpoint=path)
    assert same(whole, resumed)
    for name in table:
        np.testing.assert_array_equal(table[name], again[name])


@pytest.mark.parametrize(
    "change", [{"learning_rate": 2e-4}, {"labels": (1, 1, 0, 1, 0, 1)}, {"settings": {"hidden": 8}}]
)
def test_a_checkpoint_of_other_settings_is_not_used(tmp_path, monkeypatch, capsys, change):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "checkpoint.safetensors"
    run(checkpoint=path)
    model = run(checkpoint=path, **change)[0]
    assert "of other settings or data" in capsys.readouterr().err
    assert same(model, run(**change)[0])


@pytest.mark.parametrize("edited", ["the program", "the number of threads"])
def test_a_checkpoint_of_another_program_is_not_used(tmp_path, monkeypatch, capsys, edited):
    """A killed training that goes on after an edit of the loss would be neither the old method nor the new one."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "checkpoint.safetensors"
    run(checkpoint=path)
    if edited == "the program":
        monkeypatch.setattr(training.source, "digest", lambda command: "another")
    else:
        monkeypatch.setattr(training.torch, "get_num_threads", lambda: 77)
    run(checkpoint=path)
    assert "of other settings or data" in capsys.readouterr().err


def test_a_broken_checkpoint_is_not_used(tmp_path, capsys):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"half of a che")
    assert same(run(checkpoint=path)[0], run()[0])
    assert "from the start" in capsys.readouterr().err


def test_a_saved_model_comes_back_whole_and_its_bytes_repeat(tmp_path):
    model = run()[0]
    for name in ("a", "b"):
        weights.save(model, tmp_path / f"{name}.safetensors", {"seed": 0, "steps": 25, "rate": 0.25})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    again = weights.load(tmp_path / "a.safetensors")
    assert same(model, again)
    assert again.settings == model.settings


def test_a_damaged_model_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="no such file"):
        weights.load(path)
    weights.save(run(steps=1)[0], path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match="model.safetensors: not a safetensors file"):
        weights.load(path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "no video is selected"),
        ([0, 0, 0], "all selected videos are of one cluster"),
        ([0, 1, 2], "cluster 2 among the selected videos, but there are 2 clusters"),
        ([0, 1, -1], "cluster -1 among the selected videos"),
    ],
)
def test_a_selection_that_teaches_nothing_is_refused(labels, message):
    with pytest.raises(InputError, match=message):
        run(labels=np.array(labels, np.int64))


def test_a_loss_that_is_not_finite_names_its_step():
    with pytest.raises(InputError, match=r"the loss is not finite at step \d+; lower train.learning_rate"):
        run(learning_rate=1e30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"localizer": "colla"}, "localizer 'colla': no such localizer; did you mean 'cola'?"),
        ({"settings": {"hiden": 3}}, "localizer 'cola': it has no setting 'hiden'; did you mean 'hidden'?"),
        ({"steps": 0}, "train.steps: 0; expected 1 or more"),
    ],
)
def test_a_wrong_setting_is_named(options, message):
    with pytest.raises(InputError, match=message):
        run(**options)


def test_out_of_memory_says_what_to_lower():
    with pytest.raises(InputError, match=r"out of memory .* lower train.batch \(4\) or train.length \(10{14}\)"):
        run(length=10**14)


def test_bfloat16_learns_as_float32_does():
    """Hardware with bfloat16 takes it by itself; a run there must not differ in kind."""
    exact, rough = run(precision="float32")[1]["loss"], run(precision="bfloat16")[1]["loss"]
    np.testing.assert_allclose(rough, exact, rtol=0.05)
