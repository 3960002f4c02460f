"""HOME/ledger.duckdb: views over exactly the files of one manifest, swapped by rename.

A view cannot read a manifest and a glob sees a directory in between two states, so the view's
text holds the list and the whole file is replaced at every publish. It is derived: nothing durable
lives in it, and `publish` makes it again from the manifest. Its storage version keeps it readable from
DuckDB 1.4 on. Paths are absolute, so a home that was moved is published again at its next start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import duckdb

from ledger import comments, rows, tail
from ledger.codec import COLUMNS
from ledger.disk import REAL, TEMPORARY, Disk, adopt, discard
from ledger.home import Home
from ledger.manifest import Manifest

STORAGE_VERSION = "v1.0.0"


def publish(home: Home, manifest: Manifest, journals: Sequence[int], *, now: datetime, disk: Disk = REAL) -> None:
    """Swap in the views over the manifest's segments and these journal files, which must all be there.

    Errors: duckdb.Error for a view that does not bind; OSError. The views in force stay as they were.
    """
    temporary = home.catalog.with_name(home.catalog.name + TEMPORARY)
    local = disk.local(temporary)
    discard(disk, temporary)
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET threads = 1")
        connection.execute(f"ATTACH {rows.literal(str(local))} AS target (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE target")
        connection.execute("BEGIN")  # one commit, so that the file is written once
        for statement in statements(home, manifest, journals, now=now, disk=disk):
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("USE memory")
        connection.execute("DETACH target")  # which writes everything into the one file
    local.chmod(0o600)
    adopt(disk, temporary, home.catalog)


def statements(
    home: Home, manifest: Manifest, journals: Sequence[int], *, now: datetime, disk: Disk = REAL
) -> Iterator[str]:
    """The SQL that makes the catalog, in order: `meta`, every text of ledger/views, and `events` under them.

    The shipped views are bound against an `events` without files, which takes a tenth of the time: each of them
    refers to it several times, and binding opens every segment. The real one has the same columns and replaces it last.
    """
    yield events_view((), ())
    for _, text in view_texts():
        yield text
    segments = [disk.local(home.path / segment.path) for segment in manifest.files]
    lines = [disk.local(tail.path_of(home, number)) for number in journals]
    yield events_view(segments, lines)
    yield f"COMMENT ON VIEW events IS {rows.literal(comments.EVENTS_VIEW)}"
    yield from _column_comments("events", {name: comments.COLUMNS[name] for name in _names()})
    yield (
        f"CREATE TABLE meta AS SELECT CAST({manifest.generation} AS BIGINT) AS generation, "
        f"CAST({manifest.sealed_up_to} AS BIGINT) AS sealed_up_to, "
        f"CAST({rows.literal(now.astimezone(UTC).isoformat())} AS TIMESTAMPTZ) AS published_at, "
        f"{rows.literal(manifest.source)} AS source, CAST([] AS VARCHAR[]) AS damaged"
    )
    yield "COMMENT ON TABLE meta IS 'Which state of the ledger these views show. Grain: one row.'"
    yield from _column_comments("meta", comments.META)


def events_view(segments: Sequence[Path], journals: Sequence[Path]) -> str:
    """The text of the view `events`: sealed rows and the live tail, with the same columns."""
    parts = []
    if segments:
        parts.append(rows.of_segments(segments))
    if journals:
        parts.append(rows.of_lines(journals, is_live=True))
    if not parts:
        parts.append(_no_rows())
    union = "\nUNION ALL\n".join(parts)
    return f"CREATE OR REPLACE VIEW events AS SELECT *, {rows.DATASCHEMA} AS dataschema FROM (\n{union}\n)"  # noqa: S608 - our own names


def view_texts() -> tuple[tuple[str, str], ...]:
    """The shipped views, as (file name, SQL), in the order of their file names."""
    found = [entry for entry in files("ledger").joinpath("views").iterdir() if entry.name.endswith(".sql")]
    return tuple(
        (entry.name, entry.read_text(encoding="utf-8")) for entry in sorted(found, key=lambda entry: entry.name)
    )


def _names() -> tuple[str, ...]:
    return (*rows.NAMES, "dataschema")


def _column_comments(of: str, meanings: Mapping[str, str]) -> Iterator[str]:
    for name, meaning in meanings.items():
        yield f"COMMENT ON COLUMN {of}.{rows.quoted(name)} IS {rows.literal(meaning)}"


def _no_rows() -> str:
    types = {column.name: "BLOB" if column.name == "hash" else column.sql for column in COLUMNS} | {
        "event_date": "DATE"
    }
    chosen = ", ".join(f"CAST(NULL AS {types[name]}) AS {rows.quoted(name)}" for name in rows.NAMES)
    return f"SELECT {chosen} WHERE false"
