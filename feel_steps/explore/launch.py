"""Start a whole run from one command: write its config, run Snakemake, show how far it is."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from feel_steps.config import merge
from feel_steps.dataset.files import explain_yaml, guess_layout, read_text
from feel_steps.errors import InputError
from feel_steps.runtime.progress import Progress

if TYPE_CHECKING:
    from feel_steps.explore.results import Run

PACKAGE = Path(__file__).parents[1]
# an installed package holds the workflow; in a clone it stands beside the package
WORKFLOW = PACKAGE / "workflow" if (PACKAGE / "workflow").is_dir() else PACKAGE.parent
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
STEPS_DONE = re.compile(r"(\d+) of (\d+) steps \(\d+%\) done")
RULE = re.compile(r"^\s*(?:local)?rule (\w+):$")
ITERATION = re.compile(r"iteration=(\d+)")
NOTHING = "Nothing to be done"
STARTED = "Select jobs to execute"
LOCKED = "Directory cannot be locked"
CONFIG = {"--config", "-C"}
DRY = {"--dry-run", "--dryrun"}
LOG = "logs/run.log"  # of a run's folder: Snakemake's output
POLL = 0.1  # seconds between looks at Snakemake's output
AT_MOST = 15  # lines of Snakemake's output shown if a run fails without an error of ours


def run(
    path: str | Path | None = None,
    clusters: int | Sequence[int] = (),
    *,
    name: str | None = None,
    features: str | Path | None = None,
    annotations: str | Path | None = None,
    split: str | Path | None = None,
    settings: str | Path | Mapping[str, Any] | None = None,
    cores: int = 2,
    profile: str | None = None,
    options: Sequence[str] = (),
) -> Run:
    """Find the actions in a folder of videos, as the command ``feel-steps run`` does, and open the result.

    Results go to ``results/NAME`` below the working directory, and the config to ``results/NAME.yaml``. The same call
    continues a run that was stopped, and computes only what is missing.

    Parameters
    ----------
    path : path, optional
        Folder of videos or of feature arrays; without it, the built-in demo.
    clusters : int or sequence of int
        How many kinds of action to look for. Several numbers give variants side by side.
    name : str, optional
        Of the run; default: :func:`default_name`.
    features : path, optional
        Folder of feature arrays of the videos in ``path``.
    annotations, split : path, optional
        As ``dataset.annotations`` and ``dataset.split``.
    settings : path or mapping, optional
        Further settings as in config.yaml, or a YAML file of them.
    cores : int
        CPU cores.
    profile : str, optional
        A Snakemake profile, such as ``slurm``.
    options : sequence of str
        Further options for Snakemake.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        The folder is missing, holds neither videos nor arrays, clusters are missing, or the run says what is wrong.
    subprocess.CalledProcessError
        Snakemake failed for another reason; it has printed which.
    """
    from feel_steps.explore.results import Run

    folder, numbers = Path(path) if path is not None else None, [clusters] if isinstance(clusters, int) else clusters
    name = name or default_name(folder)
    given = {"features": features, "annotations": annotations, "split": split}
    paths = {key: Path(value) if value else None for key, value in given.items()}
    further = Path(settings) if isinstance(settings, str) else settings
    config = make_config(folder, name=name, clusters=numbers, settings=further, **paths)
    status, words = start(config, cores=cores, profile=profile, options=options)
    if status:
        log = Path("results", name, LOG)
        errors = list_errors(log.read_text("utf-8", "replace").splitlines()) if log.is_file() else []
        raise InputError("; ".join(errors)) if errors else subprocess.CalledProcessError(status, words)
    return Run(Path("results", name))


def default_name(folder: Path | None) -> str:
    """Name of a run where none is given: the folder's, without accents, with hyphens for what a name cannot hold."""
    if folder is None:
        return "demo"
    if NAME.fullmatch(name := folder.resolve().name):
        return name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")


def start(config: Mapping[str, Any], **how: Any) -> tuple[int, list[str]]:
    """Write a run's config and run Snakemake with it.

    What starts no job, such as a dry run or one with a wrong setting, leaves ``results/NAME.yaml`` to the run that it
    describes.

    Parameters
    ----------
    config : mapping
    **how
        ``cores``, ``profile`` and ``options`` of :func:`command`.

    Returns
    -------
    status : int
        Of Snakemake.
    words : list of str
        The command line.
    """
    file, log = Path("results", f"{config['name']}.yaml"), Path("results", config["name"], LOG)
    before = file.read_bytes() if file.is_file() else None
    words = write_config(config, **how)
    status = launch(words, log, config.get("iterations", 4))
    said = log.read_text("utf-8", "replace") if log.is_file() and not is_dry(words) else ""
    if before is not None and STARTED not in said and (status or NOTHING not in said):
        file.write_bytes(before)
    return status, words


def is_dry(words: Sequence[str]) -> bool:
    """Whether Snakemake is asked for its plan: ``-n``, also among other letters, as in ``-np``."""
    return any(word in DRY or re.fullmatch(r"-[a-zA-Z]*n[a-zA-Z]*", word) for word in words)


def make_config(
    path: Path | None,
    *,
    name: str,
    clusters: Sequence[int],
    features: Path | None = None,
    annotations: Path | None = None,
    split: Path | None = None,
    settings: Path | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the config of a run from what a person gives on the command line.

    Parameters
    ----------
    path : path or None
        Folder of videos, of arrays, or CoLA's folders; None for the built-in demo.
    name : str
        Of the run.
    clusters : sequence of int
        Numbers of clusters to look for; several give runs side by side. Empty: as the config has it (demo only).
    features : path, optional
        Folder of feature arrays of the videos in ``path``.
    annotations, split : path, optional
        As ``dataset.annotations`` and ``dataset.split``.
    settings : path or mapping, optional
        Further settings, or a YAML file of them; what is given by the other parameters lies over them.

    Returns
    -------
    dict
        A Snakemake config: the preset of the data's layout with these values over it.

    Raises
    ------
    InputError
        The folder is missing, holds neither videos nor arrays, or clusters are missing.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"--name '{name}' (where none is given, the folder's): expected letters, digits, '.', '_' and '-', as "
            "results go to results/NAME; give one with --name"
        )
    further = merge(settings, {}) if isinstance(settings, Mapping) else _read_settings(settings) if settings else {}
    config = further
    if path is not None:
        layout = "features" if features else guess_layout(path)
        preset = WORKFLOW / "configs" / f"{layout}.yaml"
        if preset.is_file():
            config = merge(yaml.safe_load(preset.read_text("utf-8")), further)
        dataset = config.setdefault("dataset", {})
        given = {"annotations": annotations, "split": split}
        dataset |= {"layout": layout, "path": str(features or path)}
        dataset |= {key: str(file) if file else further.get("dataset", {}).get(key) for key, file in given.items()}
        if features:
            dataset["videos"] = str(path)
        elif layout == "features":
            dataset["videos"] = None
        if not clusters and "clusters" not in further:
            raise InputError(
                "--clusters is missing: how many kinds of action to look for, such as --clusters 6, or several numbers "
                "to compare, --clusters 4,6,8"
            )
    if clusters:
        config["clusters"] = list(clusters) if len(clusters) > 1 else clusters[0]
    own = further.get("features") or {}
    if config.get("dataset", {}).get("layout") == "features" and not {"fps", "window", "stride"} & own.keys():
        how = config["features"]
        warnings.warn(
            f"features are taken as made at {how['fps']} frames a second, from {how['window']} frames, every "
            f"{how['stride']}; if they were not, all times are wrong: set features: {{fps: …, window: …, stride: …}} "
            "in the file of --configfile (feel-steps inspect helps)",
            stacklevel=2,
        )
    return config | {"name": name}


def _read_settings(path: Path) -> dict[str, Any]:
    """Settings of a YAML file; the run checks them."""
    try:
        settings = yaml.safe_load(read_text(path)) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({explain_yaml(error)}); correct it") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: a {type(settings).__name__}; expected settings, as in config.yaml")
    return settings


def write_config(config: Mapping[str, Any], **how: Any) -> list[str]:
    """Write a run's config to ``results/NAME.yaml``, and give the command line that runs it.

    Parameters
    ----------
    config : mapping
    **how
        ``cores``, ``profile`` and ``options`` of :func:`command`.
    """
    path = Path("results", f"{config['name']}.yaml")
    path.parent.mkdir(exist_ok=True)
    words = command(path, **how)
    same = shlex.join(word for word in words if not is_dry([word]))
    head = f"# Written by feel-steps run. The same run without it:\n#   {same}\n"
    path.write_text(head + yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), "utf-8")
    return words


def command(config: Path, *, cores: int, profile: str | None = None, options: Sequence[str] = ()) -> list[str]:
    """Command line that runs Snakemake with a config file; ``options`` are Snakemake's own.

    Raises
    ------
    InputError
        ``cores`` is below 1: Snakemake would wait for a core for good.
    """
    if cores < 1:
        raise InputError(f"cores: {cores}; expected 1 or more")
    words = ["snakemake", "--snakefile", str(WORKFLOW / "Snakefile"), "--configfile", str(config)]
    words += ["--profile", _profile(profile)] if profile else ["--cores", str(cores)]
    return [*words, *_nest_keys(options)]


def _nest_keys(options: Sequence[str]) -> list[str]:
    """Write ``dataset.path=x`` after --config in the form that Snakemake takes, ``dataset={path: x}``."""
    words, inside = list[str](), False
    for word in options:
        inside = word in CONFIG or (inside and not word.startswith("-"))
        key, equals, value = word.partition("=")
        first, *further = key.split(".")
        if inside and equals and further and all(key.split(".")):
            value = value if value.startswith(("[", "{")) else json.dumps(value, ensure_ascii=False)
            word = f"{first}={{{': {'.join(further)}: {value}{'}' * len(further)}"
        words.append(word)
    return words


def _profile(name: str) -> str:
    """Path of a profile: the user's folder, or one that comes with the workflow."""
    shipped = WORKFLOW / "profiles" / name
    return str(shipped) if not Path(name).exists() and shipped.is_dir() else name


def launch(words: Sequence[str], log: Path, iterations: int) -> int:
    """Run Snakemake, showing the stage, the iteration and the time left; all it says goes to a log file.

    Parameters
    ----------
    words : sequence of str
        A command line of :func:`command`.
    log : path
        Where Snakemake's output goes.
    iterations : int
        I_max, to be shown.

    Returns
    -------
    int
        Snakemake's exit status. Ctrl-C reaches Snakemake as well, which then ends in good order.
    """
    if is_dry(words):
        return subprocess.call([sys.executable, "-m", *words])  # its output is the result
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)  # a run that still goes on keeps its own
    with log.open("wb") as file:  # not a pipe: Snakemake would hang, and hold the run's lock, if this process is killed
        process = subprocess.Popen([sys.executable, "-m", *words], stdout=file, stderr=subprocess.STDOUT)
    tail: list[str] = []
    try:
        _follow(_lines(process, log, tail), iterations)
    except KeyboardInterrupt:
        print("stopping; the same command continues the run", file=sys.stderr)
        return process.wait()
    except SystemExit:  # terminated, which does not reach Snakemake by itself; it ends after the jobs that run
        process.terminate()
        raise
    if status := process.wait():
        print("".join(_essence(tail)), end="", file=sys.stderr)
        print(f"snakemake ended with status {status}; its output: {log}", file=sys.stderr)
    return status


def _essence(tail: Sequence[str]) -> list[str]:
    """What a person needs of a failed run's last lines: our errors; where there are none, the end."""
    if any(LOCKED in line for line in tail):
        return [
            "error: another run works in this folder, or one was killed; wait until it ends or, if none is alive, free "
            "the folder by the same command with `-- --unlock` at its end\n"
        ]
    return [f"error: {error}\n" for error in list_errors(tail)] or list(tail[-AT_MOST:])


def list_errors(lines: Sequence[str]) -> list[str]:
    """Our own errors in Snakemake's output, each once."""
    return list(
        dict.fromkeys(line.removeprefix("error: ").rstrip("\n") for line in lines if line.startswith("error: "))
    )


def _lines(process: subprocess.Popen[bytes], log: Path, tail: list[str]) -> Iterator[str]:
    """Lines that a process writes into its log, as they come; the last ones are kept in ``tail``."""
    with log.open(encoding="utf-8", errors="replace") as file:
        line, ended = "", False
        while not ended:
            ended = process.poll() is not None
            while piece := file.readline():
                line += piece
                if line.endswith("\n"):  # else the rest is still to be written
                    tail.append(line)
                    del tail[: -10 * AT_MOST]
                    yield line
                    line = ""
            time.sleep(0 if ended else POLL)


def _follow(lines: Iterator[str], iterations: int) -> None:
    """Turn Snakemake's output into one progress display; show warnings and notes, each once."""
    stage, progress, warned = "", None, set[str]()
    for line in lines:
        if line.startswith(("warning: ", "note: ")) and line not in warned:
            warned.add(line)
            print(line, end="", file=sys.stderr)
        elif found := RULE.match(line):
            stage = found[1].replace("_", " ")
        elif stage and (iteration := ITERATION.search(line)) and "iteration" not in stage:
            stage += f", iteration {iteration[1]} of {iterations}"
        elif done := STEPS_DONE.search(line):
            if progress is None:
                progress = Progress("running", int(done[2]), "job").__enter__()
            progress.advance(int(done[1]) - progress.done, stage)
        elif NOTHING in line:
            print("everything is up to date", file=sys.stderr)
    if progress:
        progress.__exit__(None, None, None)


def finish(page: Path, *, open_page: bool) -> None:
    """Print a finished run's table and, as the last line, the path of its page."""
    from feel_steps.report.summary import describe

    print(describe(page.parent))
    if open_page:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    print(page)
