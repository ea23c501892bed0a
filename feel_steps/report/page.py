"""Writes one HTML page per run. It is a single file and needs neither a server nor a network."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from feel_steps import __version__
from feel_steps.report import clusters, counts, numbers, videos
from feel_steps.report.groups import compare_groups
from feel_steps.report.segmentation import show_segmentation
from feel_steps.runtime.progress import clock
from feel_steps.tables import provenance, tables
from feel_steps.tables.run import Run, find_run, identify

if TYPE_CHECKING:
    from feel_steps.explore.predict import Prediction

TEMPLATES = Path(__file__).parent
LOCALIZERS = {"cola": "CoLA", "aicl": "AICL"}  # spelling of their papers
LIBRARIES = ("numpy", "scikit-learn", "pyarrow", "torch", "opencv-contrib-python-headless", "av")


def report(
    run: Path,
    out: Path,
    *,
    config: Mapping[str, Any] | None = None,
    names: Mapping[int, str] | None = None,
    corrections: Mapping[str, Any] | None = None,
    labelled: int = 0,
    groups: Path | None = None,
    mixed: float = 0.0,
) -> None:
    """Write the page of a run.

    Parameters
    ----------
    run : path
        results/{run}, with the tables of all iterations. The page shows the first seed of the first variant in detail.
    out : path
        The page. It plays the user's video files by paths relative to the page.
    config : mapping, optional
        Settings of the run, shown unchanged.
    names : mapping of int to str, optional
        Names that a person gave to clusters. A cluster without a name gets the class that the annotations map it to, if
        there are annotations.
    corrections : mapping, optional
        The corrections that the run has applied, as in their file; a person goes on from them.
    labelled : int
        Videos whose labels a person gave for training.
    groups : path, optional
        Folder with the tables of a comparison of groups.
    mixed : float
        Share of the training videos that seem to show several actions.

    Raises
    ------
    InputError
        A table is missing or damaged.
    """
    finished, config = find_run(Path(run)), config or {}
    mapped = finished.mapped_names()
    own = clusters.shown(finished)
    given_names = {c: name for c, name in {**mapped, **(names or {})}.items() if own[c]}
    labels = distinct(given_names, finished.clusters)
    if finished.names is not None:
        labels = [labels[c] for c in finished.names["shown_as"].tolist()]  # a merged cluster is called as the other
    described = clusters.cards(finished, given_names)
    held = videos.sample(
        len(finished.videos["video_id"]), (moment["row"] for card in described for moment in card["moments"])
    )
    segments = finished.segments
    segmentation = None if segments is None else show_segmentation(finished, segments, held)
    if segmentation:
        clusters.add_pictures(finished, segmentation["clusters"])
    data = {
        "names": labels,
        "letters": segmentation["letters"] if segmentation else [],
        "videos": videos.records(finished, Path(out), held, segments),
        "map": clusters.embedding_map(finished, held),
        "edit": None if finished.cuts else _editable(finished, corrections or {}),  # corrections are of whole videos
    }
    write_page(
        out,
        "page.html.j2",
        data,
        run=finished,
        name=config.get("name") or Path(run).resolve().name,
        verdict=numbers.verdict(finished, labelled),
        coverage=numbers.coverage(finished),
        warnings=clusters.warnings(finished, labels, mixed),
        facts=_facts(finished, config),
        charts=numbers.charts(finished),
        iterations=numbers.iterations(finished),
        everything=numbers.everything(finished),
        comparison=numbers.comparison(finished),
        segmentation=segmentation,
        groups=compare_groups(groups, labels) if groups else None,
        counts=counts.compare_counts(finished),
        clusters=described,
        places={int(row): place for place, row in enumerate(held)},
        unheld=len(finished.videos["video_id"]) - len(held),
        mapped=bool(mapped.keys() - (names or {}).keys()),
        splits=sorted(set(finished.videos["split"])),
        skipped=list(zip(finished.skipped["video_id"], finished.skipped["reason"], strict=True)),
        misfits=_misfits(finished),
        settings=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True) if config else "",
        versions=_versions(),
        digests=_digests(finished),
        labels=labels,
        clustered="part" if finished.cuts else "video",
        rated=True,
    )


def predicted_page(prediction: Prediction, out: Path, *, run: str, names: Mapping[int, str]) -> None:
    """Write the page of new videos; ``run`` and ``names`` are the names of the run and of its clusters."""
    labels = distinct(names, prediction.attention["activation"].shape[1])
    number = len(prediction.videos["video_id"])
    held = videos.sample(number)
    records = videos.records(prediction, Path(out), held)
    for record, strange in zip(records, prediction.unlike[held], strict=True):
        record["note"] = "unlike all training videos" if strange else ""
    write_page(
        out,
        "predicted.html.j2",
        {"names": labels, "letters": [], "videos": records, "map": None, "edit": None},
        name=f"{number:,} new video{'s' * (number != 1)}",
        unheld=number - len(held),
        run=run,
        unlike=int(prediction.unlike.sum()),
        clusters=[{"id": c, "name": label} for c, label in enumerate(labels)],
        splits=[],
        rated=False,
    )


def write_page(out: Path, template: str, data: Mapping[str, Any], *, folder: Path = TEMPLATES, **values: Any) -> None:
    """Render a template of a folder and write the page; ``data`` is read by the script of the page."""
    page, edit, style = (
        TEMPLATES.joinpath(name).read_text(encoding="utf-8") for name in ("page.js", "edit.js", "page.css")
    )
    script = f"{page}{edit}"
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = lambda seconds: f"{int(seconds // 60)}:{int(seconds % 60):02d}"
    html = environment.get_template(template).render(
        values,
        data=_embed(data),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        # the browser runs only this script, whatever the data contain
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        provenance=provenance.stamp(out) | {"feel.version": __version__},
    )
    with tables.atomic(out) as temporary:
        temporary.write_text(html, encoding="utf-8")
        provenance.seal(temporary)


def distinct(names: Mapping[int, str], clusters: int) -> list[str]:
    """Name of each of K clusters, with its number if several have the same name; empty if it has none."""
    count = Counter(names.values())
    return [f"{name} ({c})" if count[name] > 1 else name for c in range(clusters) for name in [names.get(c, "")]]


def _embed(data: Any) -> Markup:
    """JSON for a script element; characters that could end the element are escaped."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704 - escaped


def _editable(run: Run, corrections: Mapping[str, Any]) -> dict[str, Any]:
    """What the edit mode starts from: which clusters it is about, and what was corrected so far."""
    centres = identify(run.table(run.iterations, "centres")["feature"])
    own = {"variant": run.variant, "seed": run.seed, "iteration": run.iterations, "centres": centres}
    empty: dict[str, Any] = {"names": {}, "merges": [], "moves": {}, "ignored": [], "moments": []}
    return {
        "of": corrections.get("of", own),
        "corrections": empty | {key: value for key, value in corrections.items() if key != "of" and value},
        "page": centres,  # a page of another iteration keeps a state of its own
    }


def _facts(run: Run, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Facts on the data and the run, as (term, value, note)."""
    table = run.videos
    splits = sorted(set(table["split"]), reverse=True)
    window, stride, fps = (table[key][0] for key in ("snippet_window", "snippet_stride", "fps"))
    seen = len(set(run.moments["video_id"]))
    localizer = str((config.get("train") or {}).get("localizer", ""))
    parts = run.cuts
    cut = [] if parts is None else [("Parts", f"{len(parts['part']):,}", "cut where features change")]
    return [
        ("Videos", f"{len(table['video_id']):,}", " + ".join(f"{(table['split'] == s).sum():,} {s}" for s in splits)),
        ("Length", clock(float(table["duration"].sum())), "in all"),
        *cut,
        ("Snippets", f"{table['n_snippets'].sum():,}", f"{window} frames at {fps:g} per second, every {stride}"),
        ("Clusters", str(run.clusters), "found without labels"),
        ("Iterations", str(run.iterations), f"variant {run.variant}, seed {run.seed}"),
        (
            "Moments",
            f"{len(run.moments['video_id']):,}",
            f"in {seen:,} videos" + (f", by {LOCALIZERS.get(localizer, localizer)}" if localizer else ""),
        ),
    ]


def _misfits(run: Run) -> list[tuple[str, int, int, str]]:
    """Segments of the annotations that do not fit, by what became of them: (fate, segments, videos, first reason)."""
    table = run.dropped
    if table is None:
        return []
    rows = {str(fate): np.flatnonzero(table["fate"] == fate) for fate in sorted(set(table["fate"]))}
    return [
        (fate, len(found), len(set(table["video_id"][found])), str(table["reason"][found[0]]))
        for fate, found in rows.items()
    ]


def _versions() -> list[tuple[str, str]]:
    versions = [("feel-steps", __version__), ("Python", platform.python_version())]
    for library in LIBRARIES:
        try:
            versions.append((library, metadata.version(library)))
        except metadata.PackageNotFoundError:
            continue  # another distribution of the same module, or not installed
    return versions


def _digests(run: Run) -> list[tuple[str, str]]:
    """Digests of the inputs of the iterations that are shown, and of the tables of the last one."""
    last = run.iteration_folder(run.iterations)
    results = sorted(path for path in last.iterdir() if path.suffix in (".parquet", ".safetensors"))
    paths = [run.folder / "videos.parquet", run.folder / "annotations.parquet", *results]
    about = {path.relative_to(run.folder).as_posix(): provenance.read_provenance(path) for path in paths}
    return [(name, metadata[provenance.DIGEST]) for name, metadata in about.items()]
