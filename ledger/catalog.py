"""HOME/ledger.duckdb: views over exactly the files of one manifest, swapped by rename.

A view cannot read a manifest and a glob sees a directory in between two states, so the view's
text holds the list and the whole file is replaced at every publish. It is derived: nothing durable
lives in it, and `publish` makes it again from the manifest. Its storage version keeps it readable from
DuckDB 1.4 on. Paths are absolute, so a home that was moved is published again at its next start.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Protocol

import duckdb

from ledger import comments, rows, tail
from ledger.disk import REAL, TEMPORARY, Disk, adopt, discard, write_all
from ledger.disk import publish as store
from ledger.errors import LedgerError
from ledger.home import Home
from ledger.manifest import Manifest

STORAGE_VERSION = "v1.0.0"
_SUM = 32  # bytes of a SHA-256, before what it is the sum of


class Publish(Protocol):
    """How views come to be in force; see `publish`."""

    def __call__(
        self,
        home: Home,
        manifest: Manifest,
        journals: Sequence[int],
        *,
        now: datetime,
        damaged: Collection[str],
        disk: Disk,
    ) -> None: ...


class NotPublished(LedgerError):
    """DuckDB refused the new views; the ones in force stay."""

    def __init__(self, home: Home, why: str) -> None:
        super().__init__(f"{home.catalog} could not be made anew: {why}. Its events are safe; see halfpenny verify.")


def publish(
    home: Home,
    manifest: Manifest,
    journals: Sequence[int],
    *,
    now: datetime,
    damaged: Collection[str] = (),
    disk: Disk = REAL,
) -> None:
    """Swap in the views over the manifest's segments and these journal files, which must all be there.

    Shapes: `damaged` paths are left out of `events` and named in `meta`.
    Errors: NotPublished for a view that does not bind or a segment without a footer; OSError. The views in force stay.
    """
    temporary = home.catalog.with_name(home.catalog.name + TEMPORARY)
    segments = [
        rows.Held(disk.local(home.path / segment.path), segment.min_id, segment.max_id)
        for segment in manifest.files
        if segment.path not in damaged
    ]
    lines = [disk.local(tail.path_of(home, number)) for number in journals]
    discard(disk, temporary)
    try:
        shipped = _shipped_views(home, disk)
        handle = disk.create(temporary)
        try:
            write_all(disk, handle, shipped)
        finally:
            disk.close(handle)
        shown = _events(segments, lines, sealed=manifest.end.sequence)
        _execute(disk.local(temporary), (*shown, *_meta(manifest, damaged, now)))
    except duckdb.Error as refused:
        raise NotPublished(home, str(refused)) from None
    adopt(disk, temporary, home.catalog)


def _shipped_views(home: Home, disk: Disk) -> bytes:
    """A catalog with every text of ledger/views over an `events` without files, which each publish begins with.

    The views refer to `events` several times and binding it opens every segment, so they are bound without any; the
    real one, put in its place, has the same columns. The file is kept in the home under the sum of what it was
    made from, since a service's start would wait for its making.
    """
    texts = (events_view((), ()), *(text for _, text in view_texts()))
    made_from = repr((duckdb.__version__, STORAGE_VERSION, texts)).encode()
    kept = _kept(home, disk)
    if kept is not None and kept[:_SUM] == sha256(made_from + kept[_SUM:]).digest():
        return kept[_SUM:]
    made = _bound(texts)
    store(disk, home.views, sha256(made_from + made).digest() + made)
    return made


def _kept(home: Home, disk: Disk) -> bytes | None:
    try:
        return disk.read(home.views)
    except FileNotFoundError:
        return None


@cache
def _bound(texts: tuple[str, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "views.duckdb"
        _execute(path, texts)
        return path.read_bytes()


def _execute(path: Path, statements: Sequence[str]) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET threads = 1")
        connection.execute(f"ATTACH {rows.literal(str(path))} AS target (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE target")
        connection.execute("BEGIN")  # one commit, so that the file is written once
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("USE memory")
        connection.execute("DETACH target")  # which leaves everything in the one file


def _events(segments: Sequence[rows.Held], journals: Sequence[Path], *, sealed: int) -> Iterator[str]:
    yield events_view(alike([segment.path for segment in segments]), journals, sealed=sealed)
    yield rows.of_event(segments, journals, sealed)
    yield f"COMMENT ON MACRO TABLE event IS {rows.literal(comments.EVENT_MACRO)}"
    yield f"COMMENT ON VIEW events IS {rows.literal(comments.EVENTS_VIEW)}"
    yield from _column_comments(
        "events", {name: comments.COLUMNS[name] for name in _names() if name in comments.COLUMNS}
    )


def _meta(manifest: Manifest, damaged: Collection[str], now: datetime) -> Iterator[str]:
    yield (
        f"CREATE TABLE meta AS SELECT CAST({manifest.generation} AS BIGINT) AS generation, "
        f"CAST({manifest.sealed_up_to} AS BIGINT) AS sealed_up_to, "
        f"CAST({rows.literal(now.astimezone(UTC).isoformat())} AS TIMESTAMPTZ) AS published_at, "
        f"{rows.literal(manifest.source)} AS source, "
        f"CAST([{', '.join(map(rows.literal, sorted(damaged)))}] AS VARCHAR[]) AS damaged, "
        f"CAST({'NULL' if manifest.dropped is None else rows.literal(manifest.dropped.period)} AS VARCHAR) AS dropped_through"
    )
    yield "COMMENT ON TABLE meta IS 'Which state of the ledger these views show. Grain: one row.'"
    yield from _column_comments("meta", comments.META)


def alike(segments: Sequence[Path]) -> list[list[Path]]:
    """Segments in their order, those together that follow each other and have the same columns. Errors: duckdb.Error."""
    if not segments:
        return []
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET threads = 1")
        found = connection.execute(f"SELECT * FROM parquet_schema({rows.paths(segments)})").fetchall()  # noqa: S608 - our own names
    columns: dict[str, list[object]] = {}
    for file, *column in found:
        columns.setdefault(file, []).append(column)
    return [list(group) for _, group in groupby(segments, lambda segment: columns[str(segment)])]


def events_view(alike: Sequence[Sequence[Path]], journals: Sequence[Path], *, sealed: int = 0) -> str:
    """The text of the view `events`: sealed rows and the live tail, with the same columns.

    Shapes: segments as `alike` gives them: a query then opens one of each group to be bound, and not every one; the
    tail follows the sequence `sealed`.
    """
    parts = [rows.of_segments(segments, are_alike=True) for segments in alike]
    if journals:
        parts.append(rows.of_tail(journals, sealed))
    if not parts:
        parts.append(rows.of_nothing())
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
