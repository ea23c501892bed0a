"""Parts of videos through the real Snakefile: other rows, other tables, the same steps."""

from pathlib import Path

from feel_steps import Run
from feel_steps.tables import tables
from feel_steps.tables.verify import verify

JOBS = [
    "pool_features",
    "pool_parts",
    "cluster_parts",
    "refine_parts",
    "select_parts",
    "join_parts",
    "train_on_parts",
    "attend_parts",
    "localize_parts",
    "evaluate_parts",
]
PARTS = {"cut": True, "shortest": 1.5, "longest": 5}


def test_parts_are_clustered_where_the_config_says_so(workspace):
    """A variant with parts runs beside one without, whose tables stay as they are."""
    workspace.configure(variants={"feel": {}, "cut": {"parts": PARTS}}, segments={"find": True})
    planned = workspace.planned()
    loop = {f"{job} {iteration}" for job in JOBS for iteration in (1, 2)}
    assert planned == loop | {"cut_videos", "segment_videos", "evaluate_segments", "gather_metrics", "write_report"}


def test_a_run_on_parts_ends_with_a_page_that_shows_them(workspace):
    workspace.configure(parts=PARTS, iterations=1, segments={"find": True})
    workspace.snakemake("--quiet", "host")
    html = (workspace.results / "report.html").read_text("utf-8")
    assert "Map of the parts" in html
    assert "3 groups of parts of videos" in html
    assert 'id="segmentation"' in html
    assert set(Run(workspace.results).segments()["video_id"]) == set(Run(workspace.results).videos()["video_id"])
    labels = "results/tiny/feel/seed-0/iter-1/selected.parquet"
    parts = tables.read(workspace.results / "feel/parts.parquet", "parts")
    assert len(parts["part"]) > len(set(parts["video_id"]))
    rows = tables.read(workspace.results / "feel/seed-0/iter-1/parts/refined.parquet", "refined")
    assert all("#" in name for name in rows["video_id"])
    train = {video_id for video_id in parts["video_id"] if video_id.startswith("train")}
    assert set(tables.read(workspace.folder / labels, "selected")["video_id"]) <= train
    learnt = Path("feel/description.safetensors")
    assert learnt not in {finding.path for finding in verify(workspace.results)[1]}
    (workspace.results / learnt).unlink()
    assert "cut_videos" in workspace.planned()  # else predict would ask for it in vain
    (workspace.results / "feel/seed-0/segment_metrics.parquet").unlink()
    assert "evaluate_segments" in workspace.planned()  # else verify would name it for ever


def test_a_run_without_parts_shows_none_of_an_earlier_run(workspace):
    """The tables of the parts are still there, and would stand beside detections that have nothing to do with them."""
    workspace.configure(parts=PARTS, iterations=1)
    workspace.snakemake("--quiet", "host")
    workspace.configure(iterations=1)
    workspace.snakemake("--quiet", "host")
    assert (workspace.results / "feel/parts.parquet").is_file()
    assert "Map of the videos" in (workspace.results / "report.html").read_text("utf-8")


def test_lengths_that_no_parts_add_up_to_are_refused(workspace):
    workspace.configure(parts={"cut": True, "shortest": 4, "longest": 6})
    said = workspace.snakemake("--dry-run", succeeds=False)
    assert "error: config: key 'parts.longest' is 6, less than twice parts.shortest (4)" in said
