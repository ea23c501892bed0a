"""Names that a person gave to clusters: ``clusters.yaml`` in a run's folder, ``{0: waving, 1: a bow}``.

Clusters are numbered afresh by every iteration. So a file that ``feel-steps name`` wrote says which clusters it means,
under ``of``: the folder of the iteration and a digest of its centres. Written by hand it need not.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import yaml

from feel_steps.errors import InputError
from feel_steps.tables import provenance, tables
from feel_steps.tables.folders import CLUSTER_NAMES


def find_names(run: str | Path, place: str | Path) -> dict[int, str]:
    """Read the names in a run's own file, as :func:`read_names` does; empty where there is none."""
    path = Path(run) / CLUSTER_NAMES
    return read_names(path, place) if path.is_file() else {}


def read_names(path: str | Path, place: str | Path) -> dict[int, str]:
    """Read names of clusters.

    Parameters
    ----------
    path : path
        The YAML file.
    place : path
        Folder of the iteration whose clusters are to be named.

    Returns
    -------
    dict of int to str
        Empty, with a warning, where the file says that it means other clusters.

    Raises
    ------
    InputError
        The file is missing or no YAML, it names a cluster that is not there, or a name is no text.
    """
    try:
        provenance.note(path)
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; write it, or run feel-steps name") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not YAML ({reason}); expected lines such as 0: waving") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: a {type(found).__name__}; expected lines such as 0: waving")
    of = found.pop("of", None)
    if of is not None and of != _identity(Path(place)):
        warnings.warn(f"{path}: names the clusters of another result, {of}; run feel-steps name again", stacklevel=2)
        return {}
    K = _number_of_clusters(Path(place))
    for cluster, name in found.items():
        if type(cluster) is not int or not 0 <= cluster < K:
            raise InputError(f"{path}: there is no cluster {cluster!r}; expected numbers from 0 to {K - 1}")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{path}: the name of cluster {cluster} is {name!r}; expected text, in quotes if need be")
    return {cluster: " ".join(name.split()) for cluster, name in found.items()}


def write_names(path: str | Path, names: Mapping[int, str], place: str | Path) -> None:
    """Write names of the clusters of one iteration, whose folder is ``place``."""
    lines: dict[int | str, str] = {**dict(sorted(names.items())), "of": _identity(Path(place))}
    text = yaml.safe_dump(lines, sort_keys=False, allow_unicode=True)
    with tables.atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _number_of_clusters(place: Path) -> int:
    """K."""
    return len(tables.read(place / "centres.parquet", "centres")["cluster"])


def _identity(place: Path) -> str:
    """Say which clusters: variant, seed and iteration, and a digest of the centres."""
    digest = provenance.read_provenance(place / "centres.parquet")[provenance.DIGEST]
    return f"{'/'.join(place.absolute().parts[-3:])}, centres {digest[:12]}"
