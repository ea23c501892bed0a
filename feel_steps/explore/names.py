"""Reads and writes the names that a person gave to clusters: ``clusters.yaml``, ``{0: waving, 1: a bow}``.

Each iteration numbers its clusters anew. Therefore ``feel-steps name`` writes under the key ``of`` which clusters the
names are for: the folder of the iteration and a digest of its centres. A file that a person wrote may omit it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import yaml

from feel_steps.dataset.files import explain_yaml, join_halves
from feel_steps.errors import InputError
from feel_steps.tables import provenance, tables
from feel_steps.tables.folders import NAMES


def find_names(run: str | Path, iteration: str | Path, path: str | Path | None = None) -> dict[int, str]:
    """Names of the clusters of a run: those of labels and corrections, and of clusters.yaml for the other clusters.

    Parameters
    ----------
    run : path
    iteration : path
        Folder of the iteration that is shown.
    path : path, optional
        The YAML file; by default that in the run's folder, if there is one.
    """
    own, table = Path(run) / NAMES, Path(run) / "names.parquet"
    names = read_names(path or own, iteration) if path or own.is_file() else {}
    if table.is_file():
        given = tables.read(table, "names")
        shown = given["shown_as"].tolist()
        names = {cluster: names[shown[cluster]] for cluster in range(len(shown)) if shown[cluster] in names}
        names |= {cluster: name for cluster, name in zip(given["cluster"].tolist(), given["name"], strict=True) if name}
    return names


def read_names(path: str | Path, iteration: str | Path | None) -> dict[int, str]:
    """Read names of clusters.

    Parameters
    ----------
    path : path
        The YAML file.
    iteration : path or None
        Folder of the iteration whose clusters are named; None: other clusters, such as a segmentation's.

    Returns
    -------
    dict of int to str
        Empty, with a warning, if the file is for other clusters.

    Raises
    ------
    InputError
        The file is missing or not YAML, a cluster does not exist, or a name is not text.
    """
    try:
        provenance.note(path)
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; write it, or run feel-steps name") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({explain_yaml(error)}); expected lines such as 0: waving") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a {type(content).__name__}; expected lines such as 0: waving")
    of = content.pop("of", None)
    if of is not None and (iteration is None or of != _identity(Path(iteration))):
        warnings.warn(f"{path}: names the clusters of another result, {of}; run feel-steps name again", stacklevel=2)
        return {}
    K = math.inf if iteration is None else _number_of_clusters(Path(iteration))
    for cluster, name in content.items():
        if type(cluster) is not int or not 0 <= cluster < K:
            most = "" if iteration is None else f" to {K - 1}"
            raise InputError(f"{path}: there is no cluster {cluster!r}; expected numbers from 0{most}")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{path}: the name of cluster {cluster} is {name!r}; expected text, in quotes if need be")
    names = {cluster: join_halves(name, f"{path}: the name of cluster {cluster}") for cluster, name in content.items()}
    return {cluster: " ".join(name.split()) for cluster, name in names.items()}


def write_names(path: str | Path, names: Mapping[int, str], iteration: str | Path) -> None:
    """Write names of the clusters of one iteration, whose folder is ``iteration``."""
    lines: dict[int | str, str] = {**dict(sorted(names.items())), "of": _identity(Path(iteration))}
    text = yaml.safe_dump(lines, sort_keys=False, allow_unicode=True)
    tables.write_text(path, text)


def _number_of_clusters(iteration: Path) -> int:
    """Number K of clusters."""
    return len(tables.read(iteration / "centres.parquet", "centres")["cluster"])


def _identity(iteration: Path) -> str:
    """Identify clusters by variant, seed and iteration, and a digest of the centres."""
    digest = provenance.read_provenance(iteration / "centres.parquet")[provenance.DIGEST]
    return f"{'/'.join(iteration.absolute().parts[-3:])}, centres {digest[:12]}"
