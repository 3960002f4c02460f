"""Segments in Parquet: written by DuckDB out of journal lines, read back by pyarrow as events.

Two libraries on purpose: what one wrote the other reads before a journal file may go. Rows lie in
sequence order, not sorted by time: the chain runs in that order, so reading, checking and folding
are one pass without a sort, and since a writer's times rise with its sequence the zone maps on
`time` prune as well as sorting would. Only the sealing child and short commands import this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec

from ledger import rows
from ledger.codec import WRITTEN
from ledger.columns import columns
from ledger.errors import Damage
from ledger.events import Event
from ledger.money import PLACES

if TYPE_CHECKING:  # a service's start waits for the child's first publish, which reads nothing back
    import pyarrow as pa

ROW_GROUP_ROWS = 122_880
BATCH_ROWS = 8_192
MEMORY = "512MB"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = 10**PLACES
_COPY = f"(FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"


def write(journals: Sequence[Path], target: Path) -> None:
    """Copy the lines of checked journal files into one Parquet file; nothing is synced. Errors: Damage for a line DuckDB refuses."""
    _copy(f'{rows.of_lines(journals, is_live=False)} ORDER BY "sequence"', target)


def merge(segments: Sequence[Path], target: Path) -> None:
    """Copy segments that follow each other into one file, in the order given; nothing is synced."""
    _copy(rows.of_segments(segments), target)


def _copy(select: str, target: Path) -> None:
    with duckdb.connect(":memory:") as connection:
        # One thread keeps the order of the files without a sort and leaves a core to the service.
        connection.execute(f"SET threads = 1; SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = true")
        connection.execute(f"SET temp_directory = {rows.literal(str(target) + '.spill')}")
        try:
            connection.execute(f"COPY ({select}) TO {rows.literal(str(target))} {_COPY}")
        except duckdb.InvalidInputException as refused:
            raise Damage(target, f"DuckDB could not read what was to be sealed ({refused})") from None
        except duckdb.Error as refused:  # no memory, no room: nothing is wrong with the events
            raise OSError(f"DuckDB could not write {target}: {refused}") from None
    target.chmod(0o600)


def read(path: Path) -> Iterator[Event]:
    """Every event of a segment in its order and as it was written, a batch at a time, with its stamps but `prev` and `crc`.

    The caller has checked the file's SHA-256. Errors: Damage for a file pyarrow cannot read or a type it does not know.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                yield from _events(batch, path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError) as refused:
        raise Damage(path, f"it is not readable as Parquet ({refused})") from None


def counts(path: Path) -> Mapping[tuple[str, str | None, str | None], int]:
    """How many events of each type, client and period a segment holds, from three columns alone. Errors: as `read`."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    names = ["type", "client_id", "period"]
    try:
        table = pq.read_table(path, columns=names, use_threads=False)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError) as refused:
        raise Damage(path, f"it is not readable as Parquet ({refused})") from None
    found = table.group_by(names).aggregate([([], "count_all")]).to_pylist()
    return {(row["type"], row["client_id"], row["period"]): row["count_all"] for row in found}


def _events(batch: pa.RecordBatch, path: Path) -> Iterator[Event]:
    columns = {name: _values(batch.column(name)) for name in batch.schema.names}
    present = {name: values for name, values in columns.items() if values is not None}
    types = present.get("type") or []
    plans = {tag: _plan(tag, present, path) for tag in set(types)}
    for index, tag in enumerate(types):
        kind, plan = plans[tag]
        yield kind(**{name: value for name, values in plan if (value := values[index]) is not None})


def _plan(
    tag: str, present: Mapping[str, list[Any]], path: Path
) -> tuple[type[Event], tuple[tuple[str, list[Any]], ...]]:
    """Which columns of the batch fill which fields of this type."""
    kind = WRITTEN.get(tag)
    if kind is None:
        raise Damage(path, f"it holds events of the unknown type {tag!r}")
    names = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
    return kind, tuple((names[key], present[name]) for key, name in _KEYS if key in names and name in present)


_KEYS = tuple((column.key, column.name) for column in columns())


def _values(column: pa.Array) -> list[Any] | None:
    """A column as the values events carry; None when every row is null."""
    import pyarrow as pa  # noqa: PLC0415

    if column.null_count == len(column):
        return None
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _each(
            column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), lambda us: _EPOCH + timedelta(microseconds=us)
        )
    if pa.types.is_decimal(kind):
        return _each(_unscaled(column), _money if kind.scale == PLACES else (lambda value: value / 10**kind.scale))
    if pa.types.is_binary(kind):
        return _each(column, bytes.hex)
    if pa.types.is_list(kind):
        return _each(column, tuple)
    return column.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types


def _each(column: pa.Array, convert: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in column.to_pylist()]


def _unscaled(column: pa.Array) -> pa.Array:
    """A decimal column's whole numbers, without a Decimal per value: 18 digits fit in the low half of 128 bits."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    low = pa.Array.from_buffers(pa.int64(), 2 * (column.offset + len(column)), [None, column.buffers()[1]])
    every_second = pa.array(range(2 * column.offset, 2 * (column.offset + len(column)), 2), pa.int64())
    return pc.if_else(column.is_valid(), low.take(every_second), pa.scalar(None, pa.int64()))


def _money(unscaled: int) -> str:
    """Canonical text of an amount, as money.text writes it."""
    whole, part = divmod(abs(unscaled), _WHOLE)
    text = f"{whole}.{part:012d}".rstrip("0").rstrip(".")
    return f"-{text}" if unscaled < 0 else text
