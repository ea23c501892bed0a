"""Atomic writing and checked reading of the tables that pass between steps.

In memory, a table is a ``dict`` with one numpy array per column, all of one length. Strings are object arrays, numbers
have the dtype of the schema, vectors form a matrix [rows, D]. On disk, a table is a Parquet file whose pages carry
checksums; reading verifies them. The same columns give the same bytes in every process.
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
from feel_steps.tables.provenance import DIGEST, PLACEHOLDER

GROUP = 4 * 2**20  # bytes of a row group of a table that is written in pieces


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; when the block succeeds, sync the file and rename it.

    A step that dies leaves the earlier file unchanged, or no file. It never leaves half a file under the final name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "r+b") as file:  # Windows syncs only files that are open for writing
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes files that only their owner can read
        temporary.replace(path)
    except OSError as error:
        if error.filename or not error.errno:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from None  # Arrow does not name the file
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, with the same bytes on every system."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


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
            # elements that cannot be null have no definition levels, so reading takes a fifth less time
            list_type = pa.list_(pa.field("element", pa.float32(), nullable=False), matrix.shape[1])
            array = pa.FixedSizeListArray.from_arrays(_numbers(matrix.ravel()), type=list_type)
        elif type_ == "string":
            array = _strings(list(values))
        else:
            numbers = np.asarray(values, type_)
            empty = numbers < 0 if type_ in ("int32", "int64") else np.isnan(numbers)
            array = _numbers(numbers, empty if name in spec.nullable else None)
        arrays.append(array)
        fields.append(pa.field(name, array.type, nullable=name in spec.nullable))
    # Other programs copy the metadata of Arrow's schema when they rewrite a table. The placeholder then shows the edit.
    about = {"feel.kind": kind, "feel.version": __version__, DIGEST: PLACEHOLDER, **(metadata or {})}
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=dict(sorted(about.items()))))


# Arrow's own conversions import pandas, which takes longer than the rest of a small job. These functions do without.


def _numbers(values: np.ndarray, empty: np.ndarray | None = None) -> pa.Array:
    """Arrow's array of numbers; null where ``empty``."""
    some = empty is not None and empty.any()
    valid = pa.py_buffer(np.packbits(~empty, bitorder="little")) if empty is not None and some else None
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [valid, pa.py_buffer(values)])


def _strings(values: list[str | None]) -> pa.Array:
    """Arrow's array of strings; null where None."""
    empty = np.array([value is None for value in values], bool)
    texts = [(value or "").encode() for value in values]
    stops = np.cumsum([0, *map(len, texts)])
    if stops[-1] >= 2**31:
        return pa.array(values, pa.large_string())
    valid = pa.py_buffer(np.packbits(~empty, bitorder="little")) if empty.any() else None
    buffers = [valid, pa.py_buffer(stops.astype(np.int32)), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _values(array: pa.Array | pa.ChunkedArray, empty: float = np.nan) -> np.ndarray:
    """Values of Arrow's array of numbers, writable; ``empty`` where it is null."""
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if not len(whole):
        return np.empty(0, whole.type.to_pandas_dtype())
    bare = pa.Array.from_buffers(whole.type, len(whole), [None, whole.buffers()[1]], offset=whole.offset)
    values = np.from_dlpack(bare).copy()
    if whole.null_count:
        values[np.from_dlpack(whole.is_null().cast(pa.int8())).astype(bool)] = empty
    return values


def _layout(kind: str) -> dict[str, Any]:
    """Parquet settings: no compression for tables with vectors, which are read at disk speed; zstd for the others."""
    return {
        "compression": "none" if "vector" in KINDS[kind].columns.values() else "zstd",
        "use_dictionary": False,
        "write_statistics": False,
        "store_schema": True,
        "write_page_checksum": True,
    }


def write(path: str | Path, kind: str, columns: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a table atomically.

    Parameters
    ----------
    path : path
        Path of the file; missing folders are created.
    kind : str
        A key of :data:`KINDS`.
    columns : mapping of str to array
        One entry for each column of the kind; vectors as [rows, D].
    metadata : mapping of str to str, optional
        Stored in the file, such as settings.
    """
    table = _to_arrow(kind, columns, metadata)
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, table.schema, **_layout(kind)) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(provenance.stamp(path))
        provenance.seal(temporary)


class TableWriter:
    """Writes a table piece by piece; see :func:`write_in_pieces`."""

    def __init__(self, path: Path, kind: str, metadata: Mapping[str, str] | None) -> None:
        self._path, self._kind, self._metadata = path, kind, metadata
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []

    def add(self, columns: Mapping[str, Any], least: int | None = None) -> None:
        """Append rows. They are written once those that wait take ``least`` bytes, as one row group."""
        table = _to_arrow(self._kind, columns, self._metadata)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, **_layout(self._kind))
        self._waiting.append(table)
        if sum(table.nbytes for table in self._waiting) >= (GROUP if least is None else least):
            self._flush()

    def _flush(self) -> None:
        if self._writer is not None and self._waiting:
            table = pa.concat_tables(self._waiting).combine_chunks()
            self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._waiting = []

    def close(self, stamp: Mapping[str, str]) -> None:
        """Write what waits, and the footer; a table without rows has a vector of one number."""
        self._flush()
        if self._writer is None:
            kinds = KINDS[self._kind].columns.items()
            self.add({name: np.zeros((0, 1)) if type_ == "vector" else [] for name, type_ in kinds}, 0)
        assert self._writer is not None
        written = self._writer.schema.metadata
        late = {key: value for key, value in (self._metadata or {}).items() if key.encode() not in written}
        self._writer.add_key_value_metadata({**late, **stamp})
        self._writer.close()


class FeatureWriter:
    """Writes a features table with one row group per video; see :func:`write_features`."""

    def __init__(self, writer: TableWriter) -> None:
        self._writer = writer

    def add(self, video_id: str, features: np.ndarray) -> None:
        """Append the snippets of one video, features [T, D] float32."""
        columns = {"video_id": [video_id] * len(features), "snippet": np.arange(len(features)), "feature": features}
        self._writer.add(columns, 0)


@contextmanager
def write_in_pieces(path: str | Path, kind: str, metadata: Mapping[str, str] | None = None) -> Iterator[TableWriter]:
    """Write a table of which memory holds a piece; the file appears when the block succeeds.

    The caller may add to ``metadata`` until then, such as the videos that were skipped.
    """
    with atomic(path) as temporary:
        writer = TableWriter(temporary, kind, metadata)
        yield writer
        writer.close(provenance.stamp(path))
        provenance.seal(temporary)


@contextmanager
def write_features(path: str | Path, metadata: Mapping[str, str] | None = None) -> Iterator[FeatureWriter]:
    """Write a features table video by video, as :func:`write_in_pieces` does."""
    with write_in_pieces(path, "features", metadata) as writer:
        yield FeatureWriter(writer)


def _open(path: str | Path) -> pq.ParquetFile:
    """Open a table, and record it as an input of the current command."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the step that writes it") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name that is not UTF-8
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable Parquet file ({reason}); delete it and run its step again") from None
    about = _metadata(file)
    if about.get(DIGEST) == PLACEHOLDER:
        raise InputError(f"{path}: rewritten by another program; delete it and run its step again")
    provenance.note(path, about)
    return file


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata of a table: those given to :func:`write`, and its provenance (keys ``feel.*``).

    Raises
    ------
    InputError
        The file is missing, truncated or rewritten by another program.
    """
    return _metadata(_open(path))


def _metadata(file: pq.ParquetFile) -> dict[str, str]:
    raw = file.metadata.metadata or {}
    given = ((key, value) for key, value in raw.items() if not key.startswith(b"ARROW"))
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in given}


def _column(path: str | Path, kind: str, name: str, array: pa.ChunkedArray, first: int) -> np.ndarray:
    """Check a column and convert it to an array; its first row is row ``first`` of the file."""
    spec = KINDS[kind]
    type_ = spec.columns.get(name, "float64")
    if array.null_count and name not in spec.nullable:
        row = first + pc.index(array.is_null(), True).as_py()
        raise InputError(f"{path}: column '{name}', row {row}: empty; a {kind} table needs a value in every row")
    if type_ == "vector":
        if not pa.types.is_fixed_size_list(array.type) or array.type.value_type != pa.float32():
            raise InputError(f"{path}: column '{name}' is {array.type}; expected fixed_size_list<float32>[D]")
        pieces = [_values(c.flatten()).reshape(len(c), -1) for c in array.chunks if len(c)]
        if len(pieces) == 1:  # no second copy of what may be gigabytes
            values = pieces[0]
        else:
            values = np.concatenate([np.zeros((0, array.type.list_size), np.float32), *pieces])
        finite = np.isfinite(values).all(1) if not np.isfinite(values.sum(dtype=np.float64)) else None
    elif type_ == "string":
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            raise InputError(f"{path}: column '{name}' is {array.type}; expected string")
        codes = array.combine_chunks().dictionary_encode(null_encoding="encode")  # equal strings are one object
        return np.array(codes.dictionary.to_pylist(), dtype=object)[_values(codes.indices)]
    else:
        try:
            array = array.cast(TYPES[type_])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{path}: column '{name}' is not {type_} ({str(error).splitlines()[0]})") from None
        values = _values(array, -1 if type_ in ("int32", "int64") else np.nan)
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
        Columns to read; default: all.

    Returns
    -------
    dict of str to array
        Columns of the kind, and extra columns if the kind allows them. Arrays are writable; rows are in file order.

    Raises
    ------
    InputError
        The file is missing, truncated, damaged or of another kind, or a column is missing, mistyped, null or not
        finite.
    """
    return _columns(path, kind, _open(path), None, 0, columns)


def stream(path: str | Path, kind: str, columns: Sequence[str] | None = None) -> Iterator[Columns]:
    """Read a table one row group at a time, with the checks of :func:`read`; memory holds one row group."""
    groups = RowGroups(path, kind)
    for group in range(len(groups.first) - 1) or [None]:  # a table without rows has none
        yield groups.read(group, columns)


class RowGroups:
    """A table whose row groups are read in any order, with the checks of :func:`read`.

    Attributes
    ----------
    first : int64 [G + 1]
        Row of the table at which each row group starts, and the number of rows.
    """

    def __init__(self, path: str | Path, kind: str) -> None:
        self._path, self._kind, self._file = path, kind, _open(path)
        about = self._file.metadata
        self.first = np.cumsum([0, *(about.row_group(group).num_rows for group in range(about.num_row_groups))])

    def read(self, group: int | None, columns: Sequence[str] | None = None) -> Columns:
        """Read one row group, or all rows."""
        return _columns(self._path, self._kind, self._file, group, int(self.first[group or 0]), columns)


def _columns(
    path: str | Path,
    kind: str,
    file: pq.ParquetFile,
    group: int | None,
    first: int,
    only: Sequence[str] | None = None,
) -> Columns:
    """Read and check the columns of one row group, or of all; the first row is row ``first`` of the file."""
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


def join(pieces: Sequence[Columns]) -> Columns:
    """Rows of several pieces of a table."""
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def align(table: Columns, video_ids: Sequence[str] | np.ndarray, name: str, other: str) -> Columns:
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


def timing(videos: Columns, video_ids: Sequence[str] | np.ndarray) -> Columns:
    """What a videos table says about when the snippets of some videos are: a row for each of ``video_ids``."""
    names = ("video_id", "fps", "snippet_stride", "snippet_window")
    return align({name: videos[name] for name in names}, video_ids, "videos table", "the features")


def runs(values: Sequence[str] | np.ndarray) -> list[tuple[str, int, int]]:
    """Runs of equal neighbours as (value, start, stop)."""
    values = np.asarray(values, object)
    if not len(values):
        return []
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1, [len(values)]])
    return [(values[a], int(a), int(b)) for a, b in zip(starts[:-1], starts[1:], strict=True)]
