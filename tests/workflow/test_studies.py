"""Every study of studies.yaml, tiny, through studies/Snakefile; and what the studies must leave alone."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import yaml

from feel_steps.tables import tables

from .conftest import JOB, ROOT, Workspace

# What makes each study of studies.yaml tiny; the others' settings are those of the file. Two iterations only where the
# second one shows what the first cannot: a loop, features that learned, another localizer's vectors clustered.
WITHOUT_FEEL = {"iterations": 1, "refine": {"method": "none"}, "select": {"speed": "none"}}
TINY = {
    "method": {"settings": {"FEEL": {"method": "feel"}, "mean, k-means": {"pool": {"views": ["mean"]}}}},
    "ablation": {"grid": {"refine.method": ["none", "cci"]}, "reference": None},
    "selection": {
        "base": {"iterations": 1, "select": {"speed": "variable"}},
        "grid": {"select.alpha": [0.25], "select.beta": [1, 2]},
    },
    "iterations": {"settings": {"1 iteration": {"x": 1, "iterations": 1}, "2 iterations": {"x": 2}}, "reference": None},
    "clusters": {"settings": {"as configured": {"x": 1}, "twice": {"x": 2, "clusters": "x2"}}},
    "localizers": {
        "settings": {
            "CoLA without FEEL": {**WITHOUT_FEEL, "train": {"localizer": "cola", "settings": {"hidden": "x1"}}},
            "CoLA with true labels": {
                "true_labels": True,
                "train": {"localizer": "cola", "settings": {"hidden": "x1"}},
            },
            "AICL with FEEL": {"train": {"localizer": "aicl", "settings": {"hidden": "x1"}}},
        },
        "reference": "CoLA without FEEL",
    },
    "adapter": {
        "settings": {
            "features as they are": {},
            "adapter, its features clustered": {"pool": {"views": ["adapted"]}, "train": {"settings": {"adapter": 4}}},
        }
    },
    "cci-k1": {"program": {"name": "k1", "values": [2, 4]}},
    "cci-k2": {"program": {"name": "k2", "values": [1, 2]}},
    "cci-lambda": {"program": {"name": "lambda", "values": [0, 1]}},
    "noise": {"program": {"levels": [0, 1]}},
    "few-videos": {"program": {"sizes": [3], "draws": 1}},
    "classes": {"program": {"counts": [2], "draws": 1}},
    "overhead": {"program": {"limit": 500}},
    "unknown-clusters": {"program": {"counts": [2], "images": 60}},
}
READERS = {
    "import_annotations",
    "label_classes",
    "evaluate_iteration",
    "gather_study",
    "run_study",
    "write_studies",
    "studies",
}
LATER = ["select_instances", "train_localizer", "attend_videos", "localize_actions", "evaluate_iteration"]


SNAKEFILE, FILE = "studies/Snakefile", "studies_file=studies.yaml"
FEEL = ("method-feel", "method-feel+refine.method-none")  # the second one shares from the first


def snakemake(workspace: Workspace, *arguments: str, config: tuple[str, ...] = (), **options) -> str:
    """Run the studies of the workspace's own file."""
    return workspace.snakemake(*arguments, "--config", FILE, *config, snakefile=SNAKEFILE, **options)


def make_tiny(workspace: Workspace, names=None) -> list[str]:
    """Let the tiny config run tiny studies; give their names."""
    shipped = yaml.safe_load((ROOT / "studies/studies.yaml").read_text("utf-8"))
    studies = {
        name: {key: value for key, value in {**about, **TINY.get(name, {})}.items() if value is not None}
        for name, about in shipped.items()
        if names is None or name in names
    }
    (workspace.folder / "studies.yaml").write_text(yaml.safe_dump(studies, sort_keys=False, allow_unicode=True))
    return list(studies)


def test_every_study_runs_and_leaves_the_run_as_it_was(workspace):
    before = workspace.digests()
    names = make_tiny(workspace)
    snakemake(workspace, timeout=1800)
    for name in names:
        table = tables.read(workspace.results / f"studies/{name}.parquet", "study")
        assert len(table["value"]) and np.isfinite(table["value"]).all(), name
    page = (workspace.results / "studies.html").read_text("utf-8")
    assert all(f'id="{name}"' in page for name in names)

    after = workspace.digests()
    assert before == {name: after[name] for name in before}
    assert workspace.planned() == workspace.planned("--config", FILE, snakefile=SNAKEFILE) - {"studies"} == set()

    # computed once: the first clustering of every variant that groups the same vectors into as many clusters
    own, other = (workspace.results / f"{name}/seed-0/iter-1/pooled.parquet" for name in FEEL)
    assert own.read_bytes() == other.read_bytes()
    logs = workspace.results / "logs"
    assert (logs / f"share_work/{FEEL[1]}/seed-0/iter-1/clusters.parquet.log").is_file()
    assert not (logs / FEEL[1] / "seed-0/iter-1/cluster_videos.log").exists()
    # the second iteration clusters what the first one's adapter made of the features
    adapted = workspace.results / "method-feel+pool.views-adapted+train.settings.adapter-4/seed-0"
    embeddings = tables.read(adapted / "iter-1/embeddings.parquet", "embeddings")
    pooled = tables.read(adapted / "iter-2/pooled.parquet", "pooled")
    place = {video_id: row for row, video_id in enumerate(embeddings["video_id"])}
    rows = [place[video_id] for video_id in pooled["video_id"]]
    assert pooled["feature"].tolist() == embeddings["adapted"][rows].tolist()
    # the bound learns from true labels
    bound = tables.read(workspace.results / "true-labels+method-feel/seed-0/iter-1/refined.parquet", "refined")
    assert bound["cluster"].tolist() == [int(video_id[-2:]) % 3 for video_id in bound["video_id"]]

    # a deleted table of a variant is made again, and nothing else but what depends on it
    (workspace.results / FEEL[1] / "seed-0/iter-2/selected.parquet").unlink()
    jobs = workspace.planned("--config", FILE, snakefile=SNAKEFILE)
    assert jobs == {f"{step} 2" for step in LATER} | {"gather_study", "write_studies", "studies"}


def test_one_study_alone_runs_what_it_needs(workspace):
    """Else a question about one setting costs the days of all studies."""
    make_tiny(workspace)
    output = snakemake(workspace, "--dry-run", "--quiet", "host", config=["studies=[clusters]"])
    variants = set(re.findall(r"variant=([^,\s]+)", output))
    assert variants == {"clusters-6"}


def test_ground_truth_reaches_only_the_bound_and_what_measures(workspace):
    """Walk the DAG of the studies: training on clusters must not come of annotations by any chain of inputs."""
    make_tiny(workspace, ["ablation", "localizers", "noise"])
    dot = snakemake(workspace, "--dag", "--forceall")
    rules = {node: label.split("\\n")[0] for node, label in re.findall(r'(\d+)\[label = "([^"]+)"', dot)}
    children = defaultdict(set)
    for parent, child in re.findall(r"(\d+) -> (\d+)", dot):
        children[parent].add(child)
    reached, queue = set(), [node for node, rule in rules.items() if rule == "import_annotations"]
    while queue:
        node = queue.pop()
        reached.add(rules[node])
        queue += children[node] if rules[node] != "label_classes" else []
    assert reached == READERS and "train_localizer" in rules.values()

    jobs = snakemake(workspace, "--dry-run", "--forceall", "--quiet", "host")
    _, *parts = JOB.split(jobs)
    labelled = [text for rule, text in zip(parts[::2], parts[1::2], strict=True) if rule == "label_classes"]
    assert labelled and all("variant=true-labels+method-feel" in text for text in labelled)


def test_without_annotations_the_studies_say_what_needs_none(workspace):
    """Programs that compare with annotated classes, and the bound, are left out."""
    make_tiny(workspace)
    config = yaml.safe_load((workspace.folder / "tiny.yaml").read_text())
    workspace.configure(dataset={**config["dataset"], "annotations": None})
    output = snakemake(workspace, "--dry-run", "--quiet", "host")
    assert "true-labels" not in output and "studies/noise.parquet" not in output
    assert "studies/ablation.parquet" in output and "studies/overhead.parquet" in output


def test_a_setting_that_cannot_work_is_named_before_anything_runs_and_stops_nothing_else(workspace):
    make_tiny(workspace, ["clusters"])
    file = workspace.folder / "studies.yaml"
    file.write_text(file.read_text().replace("x2", "x9"))
    output = snakemake(workspace, succeeds=False)
    assert "error: config: variant 'clusters-27': key 'clusters' is 27, but there are only 12" in output
    assert "Traceback" not in output and workspace.planned() == set()
