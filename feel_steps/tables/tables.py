"""The tables that pass between steps: their schemas, atomic writing and checked reading.

A table in memory is a plain ``dict`` of numpy arrays, one entry a column, all of one length: strings as object arrays,
numbers as the dtype of the schema, vectors as a matrix [rows, D]. On disk it is a Parquet file. The same columns give
the same bytes, in whatever process they are written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feel_steps import __version__
from feel_steps.errors import InputError
from feel_steps.tables import provenance
from feel_steps.tables.kinds import KINDS, TYPES, Columns


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``, and move it there, synced to disk, when the block succeeds.

    A step that dies leaves the earlier file as it was, or none; never half of one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes files that only their owner can read
        temporary.replace(path)
    except OSError as error:
        if error.filename or not error.errno:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from None  # Arrow does not say which file
    finally:
        temporary.unlink(missing_ok=True)


def _to_arrow(kind: str, columns: Mapping[str, Any], metadata: Mapping[str, str] | None) -> pa.Table:
    spec = KINDS[kind]
    extra = [name for name in columns if name not in spec.columns]
    if missing := [name for name in spec.columns if name not in columns and name not in spec.optional]:
        raise ValueError(f"a {kind} table needs the columns {missing}")
    if extra and not spec.extra:
        raise ValueError(f"a {kind} table has no columns {extra}")
    arrays, fields = [], []
    for name in [*(name for name in spec.columns if name in columns), *extra]:
        type_, values = spec.columns.get(name, "float64"), columns[name]
        if type_ == "vector":
            matrix = np.ascontiguousarray(values, np.float32)
            array = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
        elif type_ == "string":
            array = pa.array(list(values), pa.string())
        elif type_ in ("int32", "int64") and name in spec.nullable:
            integers = np.asarray(values, type_)
            array = pa.array(integers, TYPES[type_], mask=integers < 0)
        else:
            array = pa.array(np.asarray(values), TYPES[type_], from_pandas=name in spec.nullable)
        arrays.append(array)
        fields.append(pa.field(name, array.type, nullable=name in spec.nullable))
    # a blank digest in Arrow's own copy of the schema, which other programs keep when they write the table again
    own = {"feel.kind": kind, "feel.version": __version__, provenance.DIGEST: provenance.BLANK, **(metadata or {})}
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=dict(sorted(own.items()))))


def _layout(kind: str) -> dict[str, Any]:
    """Parquet settings: plain pages for vectors (read at disk speed), zstd for the small tables."""
    vectors = "vector" in KINDS[kind].columns.values()
    compression = "none" if vectors else "zstd"
    return {"compression": compression, "use_dictionary": False, "write_statistics": False, "store_schema": True}


def write(path: str | Path, kind: str, columns: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a table atomically.

    Parameters
    ----------
    path : path
        Where to; folders are made.
    kind : str
        A key of :data:`KINDS`.
    columns : mapping of str to array
        One entry for each column of the kind; vectors as [rows, D].
    metadata : mapping of str to str, optional
        Kept in the file's schema: settings, digests.
    """
    table = _to_arrow(kind, columns, metadata)
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, table.schema, **_layout(kind)) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(provenance.stamp(path))
        provenance.seal(temporary)


class FeatureWriter:
    """Write a features table video by video, one row group each; see :func:`write_features`."""

    def __init__(self, path: Path, metadata: Mapping[str, str] | None) -> None:
        self._path, self._metadata = path, metadata
        self._writer: pq.ParquetWriter | None = None

    def add(self, video_id: str, features: np.ndarray) -> None:
        """Append one video's snippets, features [T, D] float32."""
        columns = {"video_id": [video_id] * len(features), "snippet": np.arange(len(features)), "feature": features}
        self._write(_to_arrow("features", columns, self._metadata))

    def _write(self, table: pa.Table) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, **_layout("features"))
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        return self._writer

    def close(self, stamp: Mapping[str, str]) -> None:
        """Finish the file; a part without a video becomes an empty table."""
        empty = {"video_id": [], "snippet": [], "feature": np.zeros((0, 1), np.float32)}
        writer = self._writer or self._write(_to_arrow("features", empty, self._metadata))
        written = writer.schema.metadata
        late = {key: value for key, value in (self._metadata or {}).items() if key.encode() not in written}
        writer.add_key_value_metadata({**late, **stamp})
        writer.close()


@contextmanager
def write_features(path: str | Path, metadata: Mapping[str, str] | None = None) -> Iterator[FeatureWriter]:
    """Open a features table for streaming; the file appears, whole, when the block succeeds.

    ``metadata`` may grow until then: which videos were skipped is known only at the end.
    """
    with atomic(path) as temporary:
        writer = FeatureWriter(temporary, metadata)
        yield writer
        writer.close(provenance.stamp(path))
        provenance.seal(temporary)


def _open(path: str | Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the step that writes it") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name that is no UTF-8
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable Parquet file ({reason}); delete it and run its step again") from None


def read_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of a table, as given to :func:`write`; what begins with ``feel.`` says where it comes from.

    Raises
    ------
    InputError
        The file is missing, truncated or altered.
    """
    found = _metadata(_open(path))
    provenance.note(path, found)
    return found


def _metadata(file: pq.ParquetFile) -> dict[str, str]:
    raw = file.metadata.metadata or {}
    own = ((key, value) for key, value in raw.items() if not key.startswith(b"ARROW"))
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in own}


def _column(path: str | Path, kind: str, name: str, array: pa.ChunkedArray, first: int) -> np.ndarray:
    """Check a column whose first row is that row of the file, and give it as an array."""
    spec = KINDS[kind]
    type_ = spec.columns.get(name, "float64")
    if array.null_count and name not in spec.nullable:
        row = first + pc.index(array.is_null(), True).as_py()
        raise InputError(f"{path}: column '{name}', row {row}: empty; a {kind} table needs a value in every row")
    if type_ == "vector":
        if not pa.types.is_fixed_size_list(array.type) or array.type.value_type != pa.float32():
            raise InputError(f"{path}: column '{name}' is {array.type}; expected fixed_size_list<float32>[D]")
        pieces = [c.flatten().to_numpy(zero_copy_only=False).reshape(len(c), -1) for c in array.chunks if len(c)]
        values = np.concatenate(pieces) if pieces else np.zeros((0, array.type.list_size), np.float32)
        finite = np.isfinite(values).all(1) if not np.isfinite(values.sum(dtype=np.float64)) else None
    elif type_ == "string":
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            raise InputError(f"{path}: column '{name}' is {array.type}; expected string")
        return np.array(array.to_pylist(), dtype=object)
    else:
        try:
            array = array.cast(TYPES[type_])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{path}: column '{name}' is not {type_} ({str(error).splitlines()[0]})") from None
        if type_ in ("int32", "int64") and name in spec.nullable:
            array = array.fill_null(-1)
        values = array.to_numpy().astype(type_, copy=True)  # Arrow's own memory is read-only
        finite = np.isfinite(values) if type_.startswith("float") and name not in spec.nullable else None
    if finite is not None and not finite.all():
        row = first + int(np.argmin(finite))
        raise InputError(f"{path}: column '{name}', row {row}: NaN or infinite; run the step that wrote it again")
    return values


def read(path: str | Path, kind: str, columns: Sequence[str] | None = None) -> Columns:
    """Read a table and check it against its schema.

    Parameters
    ----------
    path : path
        A Parquet file.
    kind : str
        A key of :data:`KINDS`.
    columns : sequence of str, optional
        Those to read, if not all.

    Returns
    -------
    dict of str to array
        The columns of the kind (and of an open kind its extra ones), writable, rows in the file's order.

    Raises
    ------
    InputError
        The file is missing, truncated, altered or of another kind, or a column is missing, mistyped, null or not
        finite.
    """
    file = _open(path)
    provenance.note(path, _metadata(file))  # first: what Arrow says of altered bytes is any error there is
    return _columns(path, kind, file, None, 0, columns)


def stream(path: str | Path, kind: str) -> Iterator[Columns]:
    """Read a table as :func:`read` does, but one row group at a time: its vectors need not fit into memory twice."""
    file, first = _open(path), 0
    provenance.note(path, _metadata(file))
    for group in range(file.num_row_groups) or [None]:  # a table without rows has none
        yield _columns(path, kind, file, group, first)
        first += file.metadata.row_group(group).num_rows if group is not None else 0


def _columns(
    path: str | Path,
    kind: str,
    file: pq.ParquetFile,
    group: int | None,
    first: int,
    only: Sequence[str] | None = None,
) -> Columns:
    """Columns of one row group, whose first row is that row of the file, or of all; checked."""
    spec, names = KINDS[kind], file.schema_arrow.names
    if missing := [name for name in spec.columns if name not in names and name not in spec.optional]:
        raise InputError(
            f"{path}: column '{missing[0]}' is missing (there are: {', '.join(names)}); "
            f"a {kind} table has {', '.join(spec.columns)}"
        )
    wanted = only or (names if spec.extra else [name for name in spec.columns if name in names])
    try:
        table = file.read(columns=wanted) if group is None else file.read_row_group(group, columns=wanted)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: damaged Parquet file ({reason}); delete it and run its step again") from None
    return {name: _column(path, kind, name, table[name], first) for name in wanted}


def align(table: Columns, video_ids: np.ndarray, name: str, other: str) -> Columns:
    """Rows of a table of one row a video, in the order of ``video_ids``.

    Raises
    ------
    InputError
        A video is not in the table; ``name`` and ``other`` say where it was looked for, and where it comes from.
    """
    rows = {video_id: row for row, video_id in enumerate(table["video_id"])}
    if missing := [video_id for video_id in video_ids if video_id not in rows]:
        raise InputError(f"{name}: video '{missing[0]}' of {other} is not in it; run the step that wrote it again")
    order = [rows[video_id] for video_id in video_ids]
    return {column: values[order] for column, values in table.items()}


def runs(values: Sequence[str] | np.ndarray) -> list[tuple[str, int, int]]:
    """Runs of equal neighbours as (value, start, stop)."""
    values = np.asarray(values, object)
    if not len(values):
        return []
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1, [len(values)]])
    return [(values[a], int(a), int(b)) for a, b in zip(starts[:-1], starts[1:], strict=True)]
