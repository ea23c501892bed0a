"""Tables that several variants would compute alike: which variant makes them for all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from feel_steps.config import Config
from feel_steps.selection import schedule

LEARNED = ("embedding", "adapted", "actionness")  # views that need a localizer


def get_owners(variants: Mapping[str, Config], borrowers: Mapping[str, bool]) -> dict[str, str]:
    """Which tables of a variant are the same as those of one before it, by the settings they come from.

    Parameters
    ----------
    variants : mapping of str to config
        All variants, resolved, in their order.
    borrowers : mapping of str to bool
        Those that may take tables from others, and whether they learn from true labels.

    Returns
    -------
    dict of str to str
        ``{variant}/iter-{iteration}/{file}`` to the variant that has that file to give.
    """
    first: dict[str, str] = {}
    owners = {}
    for name, settings in variants.items():
        if settings.get("parts", {}).get("cut"):  # its tables come from other rows, and lie elsewhere
            continue
        for place, origin in _origins(settings, borrowers.get(name, False)):
            owner = first.setdefault(f"{place} {origin}", name)
            if owner != name and name in borrowers:
                owners[f"{name}/{place}"] = owner
    return owners


def _origins(settings: Config, true_labels: bool) -> Iterator[tuple[str, str]]:
    """Each table of each iteration, and a digest of the settings that it comes from, through all iterations before."""
    attended = ""
    for i in range(1, settings["iterations"] + 1):
        select = dict(settings["select"])
        pace = {key: select.pop(key) for key in ("speed", "alpha", "beta", "share")}
        pooled = _digest(attended, settings["pool"] if i > 1 else _first_pool(settings["pool"]))
        clustered = _digest(pooled, settings["clusters"], settings["cluster"])
        refined = _digest(clustered, settings["refine"], true_labels)
        selected = _digest(refined, schedule(i, **pace), select)
        trained = _digest(selected, settings["clusters"], settings["train"])
        attended = _digest(trained, settings["attend"])
        files = {
            "pooled.parquet": pooled,
            "clusters.parquet": clustered,
            "centres.parquet": clustered,
            "refined.parquet": refined,
            "selected.parquet": selected,
            "model.safetensors": trained,
            "training.parquet": trained,
            "attention.parquet": attended,
            "embeddings.parquet": attended,
            "detections.parquet": _digest(attended, settings["localize"]),
            "confidence.parquet": _digest(refined, attended, settings["localize"]),
            "moments.parquet": _digest(refined, attended, settings["localize"]),
        }
        yield from ((f"iter-{i}/{file}", origin) for file, origin in files.items())


def _first_pool(pool: Config) -> Config:
    """Settings of the first iteration's pooling: without the views that need a localizer."""
    views = pool["views"]
    known = views if views == "auto" else [view for view in views if view not in LEARNED]
    return pool | {"views": known or ["mean"]}


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
