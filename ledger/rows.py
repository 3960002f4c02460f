"""Journal lines as SQL rows: the one text that seals them and that shows the live tail.

Sealed segments and the tail have the same columns of the same types, so that the view `events` is
their union. Works on DuckDB 1.5 and 2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ledger.columns import columns

LINE_LIMIT_BYTES = 1024 * 1024
EVENT_OF_VIEW = 'CREATE OR REPLACE MACRO event(sought) AS TABLE SELECT * FROM events WHERE "event_id" = sought'
NAMES: tuple[str, ...] = (*(column.name for column in columns()), "event_date")
DATASCHEMA = """'schemas/events/' || substr("type", 11) || '.json'"""  # after "halfpenny."


class Held(NamedTuple):
    """A segment and the least and greatest id in it, both empty where they are not known."""

    path: Path
    min_id: str
    max_id: str


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def paths(files: Sequence[Path]) -> str:
    """Files as an SQL list of their names."""
    return "[" + ", ".join(literal(str(file)) for file in files) + "]"


def of_lines(files: Sequence[Path], *, is_live: bool) -> str:
    """A SELECT of every line of these journal files, with the columns `NAMES`.

    Shapes: with `is_live` a line that is just being written is left out in silence; without it, a bad line is an error.
    """
    keys = ", ".join(f"{quoted(column.key)}: {literal(column.sql)}" for column in columns())
    chosen = ",\n  ".join(_chosen(column.key, column.name) for column in columns())
    return (
        f"SELECT {chosen},\n  CAST(timezone('UTC', \"time\") AS DATE) AS event_date\n"
        f"FROM read_json({paths(files)}, format = 'newline_delimited', columns = {{{keys}}}, "
        f"maximum_object_size = {LINE_LIMIT_BYTES}, ignore_errors = {'true' if is_live else 'false'})\n"
        'WHERE "id" IS NOT NULL'
    )


def of_tail(files: Sequence[Path], sealed: int) -> str:
    """A SELECT of the live tail: the lines that follow the sequence `sealed` without a gap, with the columns `NAMES`.

    Files are read at different moments while the writer goes on, so a query may have seen the first line of one and not
    the last of the one before. Whatever lies behind a gap was acknowledged after the query began: an answer without it is
    the log up to an event.
    """
    # Direction and nulls are said, since a session may have set others as its default.
    place = f'row_number() OVER (ORDER BY "sequence" ASC NULLS LAST) + {sealed:d}'
    return f'SELECT *\nFROM ({of_lines(files, is_live=True)})\nQUALIFY "sequence" = {place}'


def of_segments(files: Sequence[Path], *, are_alike: bool = False) -> str:
    """A SELECT of every row of these segments, with the columns `NAMES`, also where all of them are older than a column.

    Shapes: `are_alike` only of files known to have the same columns; binding opens one of them then, and not each.
    Source: reference/storage.md, "Traps found": without union_by_name later columns vanish in silence.
    """
    return _of_segments(paths(files), are_alike=are_alike)


def _of_segments(files: str, *, are_alike: bool) -> str:
    names = ", ".join(map(quoted, NAMES))
    found = f"SELECT * FROM read_parquet({files}, union_by_name = {'false' if are_alike else 'true'})"  # noqa: S608 - our own names
    return f"SELECT {names}\nFROM ({of_nothing()} UNION ALL BY NAME {found})"


def of_event(segments: Sequence[Held], journals: Sequence[Path], sealed: int) -> str:
    """The macro `event(sought)`: the row of `events` with this id, opening only segments that may hold it.

    Shapes: the list of files is worked out while a query is bound, before any is opened; where no segment may hold the
    id, one is opened for its columns.
    """
    parts = []
    if segments:
        first = paths([segments[0].path])
        chosen = f"coalesce(nullif(flatten([{', '.join(map(_if_held, segments))}]), []), {first})"
        parts.append(_of_segments(chosen, are_alike=False))
    if journals:
        parts.append(of_tail(journals, sealed))
    union = "\nUNION ALL\n".join(parts or [of_nothing()])
    shown = f"SELECT *, {DATASCHEMA} AS dataschema FROM (\n{union}\n)"  # noqa: S608 - our own names
    return f'CREATE OR REPLACE MACRO event(sought) AS TABLE {shown} WHERE "event_id" = sought'


def _if_held(segment: Held) -> str:
    """A list of the segment's path, or of nothing. Ids are compared by their bytes, whatever a session's collation is."""
    path = paths([segment.path])
    if not segment.max_id:
        return path
    ends = f"encode({literal(segment.min_id)}) AND encode({literal(segment.max_id)})"
    return f"CASE WHEN encode(sought) BETWEEN {ends} THEN {path} ELSE [] END"


def of_nothing() -> str:
    """A SELECT without a row, with the columns `NAMES` and their types."""
    types = {column.name: "BLOB" if column.name == "hash" else column.sql for column in columns()} | {
        "event_date": "DATE"
    }
    chosen = ", ".join(f"CAST(NULL AS {types[name]}) AS {quoted(name)}" for name in NAMES)
    return f"SELECT {chosen} WHERE false"


def _chosen(key: str, name: str) -> str:
    if name == "hash":
        return 'unhex("hash") AS "hash"'
    return quoted(key) if key == name else f"{quoted(key)} AS {quoted(name)}"
