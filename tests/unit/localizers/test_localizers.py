"""Localizers are found by name, and what cannot be built is refused before any work."""

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from feel_steps.errors import InputError
from feel_steps.localizers import LOCALIZERS, place_of, settings_of, weights


@pytest.mark.parametrize("name", LOCALIZERS)
def test_settings_are_the_classes_own(name):
    """Read from the source without importing it, they must not drift from what Python would accept."""
    module, attribute = place_of(name)
    parameters = inspect.signature(getattr(import_module(module), attribute)).parameters.values()
    assert settings_of(name) == {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}
    built = weights.build(name, 4, 2)
    assert set(built.settings) == {"features", "clusters", *settings_of(name)}
    assert weights.name_of(built) == name


def test_reading_settings_does_without_pytorch():
    """Snakemake's own process reads them at each start."""
    program = (
        "import sys\nfrom feel_steps.localizers import settings_of\nsettings_of('cola')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aicel", "localizer 'aicel': no such localizer; did you mean 'aicl'?"),
        ("gandalf", "localizer 'gandalf': no such localizer; there are cola, aicl, co2net"),
    ],
)
def test_an_unknown_name_says_which_there_are(name, message):
    with pytest.raises(InputError) as error:
        settings_of(name)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiden": 8}, "it has no setting 'hiden'; did you mean 'hidden'?"),
        ({"zzz": 8}, "it has no setting 'zzz'; there are hidden, dropout, r_easy"),
        ({"hidden": 0}, "setting 'hidden' is 0; expected a whole number of 1 or more, such as 2048"),
        ({"hidden": 8.5}, "setting 'hidden' is 8.5; expected a whole number"),
        ({"hidden": True}, "setting 'hidden' is True; expected a whole number"),
        ({"temperature": float("inf")}, "setting 'temperature' is inf; expected a number of 0 or more"),
        ({"temperature": "low"}, "setting 'temperature' is 'low'; expected a number of 0 or more, such as 0.07"),
        ({"temperature": float("nan")}, "setting 'temperature' is nan"),
        ({"dropout": 1}, "setting 'dropout' is 1; expected a share below 1"),
        ({"head": 3}, "setting 'head' is 3; expected a str, such as 'thumos'"),
        ({"head": "kinetics"}, "setting 'head' is 'kinetics'; expected thumos or activitynet"),
        ({"temperature": 0}, "setting 'temperature' is 0; expected a number above 0"),
        ({"kernel": 2}, "setting 'kernel' is 2; expected an odd number of snippets"),
        ({"m": 6}, "m is 6, M 6; expected m < M"),
        ({"class_kernel": 4}, "setting 'class_kernel' is 4; expected an odd number"),
    ],
)
def test_a_setting_of_no_use_is_named(settings, message):
    """Some would fail only after a whole training, at attention."""
    with pytest.raises(InputError, match="^localizer( 'cola')?: ") as error:
        weights.build("cola", 4, 2, **settings)
    assert message in str(error.value)


def test_a_line_that_points_nowhere_is_named(monkeypatch):
    monkeypatch.setitem(LOCALIZERS, "mine", "feel_steps.localizers.mine:Mine")
    with pytest.raises(InputError, match="localizer 'mine': its module feel_steps.localizers.mine is not there"):
        settings_of("mine")
    monkeypatch.setitem(LOCALIZERS, "mine", "feel_steps.localizers.cola:Mine")
    with pytest.raises(InputError, match="feel_steps.localizers.cola has no class Mine"):
        settings_of("mine")
