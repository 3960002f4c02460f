"""The ledger as tables, read only, up to one position.

The only module that speaks to DuckDB. It attaches HOME/ledger.duckdb read-only to a connection in
memory and puts the ledger's own view files over `events`, limited to a sequence, so that a
report is made of the same SQL an analyst sees and of nothing that came later. Every
sealed segment's SHA-256 is checked first: DuckDB answers wrongly, without an error, on
most single flipped bits.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb

from ledger import catalog, manifest, tail
from ledger.columns import columns
from ledger.disk import FILE_MODE, REAL, TEMPORARY, adopt
from ledger.errors import Conflict, Damage, InvalidInput, NoLongerHere, NotAHome
from ledger.home import Home, existing
from ledger.rows import EVENT_OF_VIEW, literal
from reports.errors import NotReadable

Row = tuple[Any, ...]
MEMORY_LIMIT = "1200MB"  # what DuckDB counts itself; a process stays below 2 GB with it
TRIES = 5
BLOCK = 1 << 20  # bytes hashed at a time


class Warehouse:
    """One home's events, until it is closed. Queries are the files of reports/queries."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, query: str, **values: str | int | date | list[str] | list[int]) -> tuple[Row, ...]:
        """The rows of the named query, in its order; `values` are its parameters."""
        return tuple(self._connection.execute(_text("reports", "queries", f"{query}.sql"), values).fetchall())

    def asked(self, home: Home, sql: str, as_of: datetime | None = None) -> list[dict[str, Any]]:
        """One SELECT over the published views of this home, as dictionaries; no file beside them is read. Errors: InvalidInput.

        Shapes: with `as_of` the views are of the events before the first that was recorded after that moment.
        """
        if as_of is not None:
            self.limit(self.position_at(as_of, home))
        try:
            statements = self._connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise InvalidInput("Ask one SELECT; the ledger is read only. The views are listed in schemas/views.md.")
            self._connection.execute("USE ledger" if as_of is None else "USE memory")
            beneath = ", ".join(literal(str(directory)) for directory in (home.events, home.journal))
            self._connection.execute(f"SET allowed_directories = [{beneath}]")
            self._connection.execute("SET enable_external_access = false")
            self._connection.execute("SET lock_configuration = true")
            found = self._connection.execute(statements[0])
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        except duckdb.Error as refused:
            raise InvalidInput(str(refused)) from None

    def copied(self, condition: str, target: Path, how: str) -> int:
        """Write the events of which this is true to a file, in order; how many."""
        select = f"SELECT * FROM all_events WHERE {condition} ORDER BY sequence"  # noqa: S608 -- made of literals
        (found,) = self._connection.execute(f"COPY ({select}) TO {literal(str(target))} ({how})").fetchone()
        return int(found)

    def put_into(self, target: Path) -> int:
        """Make a DuckDB file of all events and the views over them; how many events."""
        run = self._connection.execute
        run(f"ATTACH {literal(str(target))} AS taken (STORAGE_VERSION '{catalog.STORAGE_VERSION}')")
        run("CREATE TABLE taken.meta AS SELECT * FROM ledger.meta")
        run("CREATE TABLE taken.events AS SELECT * FROM all_events ORDER BY sequence")
        run("USE taken")
        for name in view_files():
            run(_text("ledger", "views", name))
        run(EVENT_OF_VIEW)
        (count,) = run("SELECT count(*) FROM events").fetchone()
        run("USE memory")
        run("DETACH taken")
        return int(count)

    def position_at(self, moment: datetime, home: Home) -> int:
        """The sequence of the last event before the first that was recorded after a moment. Errors: NoLongerHere."""
        found = self._connection.execute(
            "SELECT coalesce(min(sequence) FILTER (WHERE recorded_at > $moment) - 1, max(sequence), 0) FROM all_events",
            {"moment": moment},
        ).fetchone()
        position, dropped = int(found[0]), dropped_from(home)
        if dropped is not None and position < dropped.sequence:
            raise NoLongerHere(f"What was known at {moment:%Y-%m-%dT%H:%M:%SZ}", dropped.period)
        return position

    def forget_after(self, sequence: int) -> None:
        """From now on `all_events` ends at this sequence: what came later was not known."""
        _complete(self._connection, f"WHERE sequence <= {sequence:d}")

    def limit(self, sequence: int) -> None:
        """From now on `events`, and the views over it, end at this sequence."""
        # Views are bound while `events` has no file: each refers to it many times, and binding it opens every segment.
        self._connection.execute(catalog.events_view((), ()))
        for name in view_files():
            self._connection.execute(_text("ledger", "views", name))
        self._connection.execute(
            f"CREATE OR REPLACE VIEW events AS SELECT * FROM all_events WHERE sequence <= {sequence:d}"  # noqa: S608 -- a view takes no parameters
        )
        self._connection.execute(EVENT_OF_VIEW)


@contextmanager
def opened(home_path: Path, as_of: datetime | None = None, *, spill: bool = True) -> Iterator[Warehouse]:
    """A home's warehouse, `all_events` being all events it holds, or held as known at a moment; closed at the end.

    Without `spill` no file is written.

    Errors: NoLongerHere; NotAHome; Damage when a sealed segment is not what the manifest says; NotReadable for a home that was moved.
    """
    home = existing(home_path)
    if not home.catalog.is_file():
        raise NotAHome(home_path)
    check_segments(home)
    check_tail(home)
    # What does not fit into memory is spilled into a directory of its own, mode 0700, and never into the present one.
    place = tempfile.TemporaryDirectory(prefix="halfpenny-", ignore_cleanup_errors=True) if spill else None
    config = {"memory_limit": MEMORY_LIMIT, "temp_directory": place.name if place else ""}
    connection = duckdb.connect(":memory:", config=config)
    try:
        connection.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
        try:
            connection.execute(f"ATTACH {literal(str(home.catalog))} AS ledger (READ_ONLY)")
            _complete(connection)
        except duckdb.Error as refused:  # a catalog that changed fails in any way
            raise NotReadable(home.path, str(refused).splitlines()[0]) from None
        warehouse = Warehouse(connection)
        if as_of is not None:
            warehouse.forget_after(warehouse.position_at(as_of, home))
        yield warehouse
    except duckdb.IOException as refused:
        raise NotReadable(home.path, str(refused).splitlines()[0]) from None
    finally:
        connection.close()
        if place is not None:
            place.cleanup()


def _complete(connection: Any, condition: str = "") -> None:
    """`all_events` is the ledger's events with every column of today, so that a home last opened by an older program reads too."""
    known = {row[0] for row in connection.execute("DESCRIBE ledger.events").fetchall()}
    later = [f'NULL::{column.sql} AS "{column.name}"' for column in columns() if column.name not in known]
    chosen = ", ".join(["*", *later])
    connection.execute(f"CREATE OR REPLACE VIEW all_events AS SELECT {chosen} FROM ledger.events {condition}")  # noqa: S608 -- names of our own columns


def asked(home_path: Path, sql: str, as_of: datetime | None = None, *, spill: bool = True) -> list[dict[str, Any]]:
    """The rows of one SELECT over the published views, of now or as known at a moment, in this process.

    DuckDB is told to read and write nothing beside them; SQL that a person typed goes by reports/asking.py, where the system
    sees to it. Errors: as `opened`; InvalidInput with DuckDB's own words for anything else than one SELECT that runs.
    """
    with opened(home_path, spill=spill) as warehouse:
        return warehouse.asked(existing(home_path), sql, as_of)


def exported(home_path: Path, target: Path, kind: str, client_id: str | None, month: str | None) -> tuple[int, str]:
    """Write events of a client or a month to a new file; how many, and the file's SHA-256.

    Shapes: `kind` is parquet, jsonl or csv, with the columns of the view `events`. Errors: as `opened`; Conflict when the file is there.
    """
    if target.exists():
        raise Conflict(f"{target} exists already. An export is never written over; choose another name.")
    temporary = target.with_name(target.name + TEMPORARY)
    wanted = [
        f"{name} = {literal(value)}"
        for name, value in (("client_id", client_id), ("period", month))
        if value is not None
    ]
    how = {"parquet": "FORMAT parquet, COMPRESSION zstd", "jsonl": "FORMAT json", "csv": "FORMAT csv, HEADER"}[kind]
    with opened(home_path) as warehouse:
        count = warehouse.copied(" AND ".join(wanted) or "true", temporary, how)
    temporary.chmod(FILE_MODE)
    adopt(REAL, temporary, target)
    return count, _sha256(target, target.stat().st_size, target.stat().st_mtime_ns)


def taken_away(home_path: Path, target: Path, as_of: datetime | None = None) -> tuple[int, str]:
    """One DuckDB file with the events as a table and every view over it; how many events, and the file's SHA-256.

    Shapes: of now, or as known at a moment. Errors: as `opened`; Conflict when the file is there.
    """
    if target.exists():
        raise Conflict(f"{target} exists already. A snapshot is never written over; choose another name.")
    temporary = target.with_name(target.name + TEMPORARY)
    temporary.unlink(missing_ok=True)
    with opened(home_path, as_of) as warehouse:
        count = warehouse.put_into(temporary)
    temporary.chmod(FILE_MODE)
    adopt(REAL, temporary, target)
    return count, _sha256(target, target.stat().st_size, target.stat().st_mtime_ns)


def dropped_from(home: Home) -> manifest.Dropped | None:
    """What was exported and dropped from this home, if anything."""
    return manifest.load(home, REAL).dropped if home.manifest.exists() else None


def check_tail(home: Home) -> None:
    """Check every line that is not sealed yet, since the live view leaves a changed one out in silence.

    Shapes: the last line may be in the middle of a write. Errors: Damage naming file and offset.
    """
    for attempt in range(TRIES):
        listed = manifest.load(home, REAL) if home.manifest.exists() else None
        if listed is None:
            return
        try:
            tail.read_tail(home, REAL, listed, lambda _: None)
        except (Damage, FileNotFoundError):
            # Sealed and swept while it was read; the next manifest says where its events are.
            if attempt + 1 == TRIES or manifest.load(home, REAL).generation == listed.generation:
                raise
        else:
            return


def check_segments(home: Home) -> None:
    """Compare every listed segment with its SHA-256.

    Errors: Damage naming the segment.
    """
    try:
        listed = manifest.load(home, REAL)
    except FileNotFoundError:
        return  # nothing was sealed yet
    for segment in listed.files:
        path = home.path / segment.path
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise Damage(path, "the manifest lists it and it is not there") from None
        if _sha256(path, stat.st_size, stat.st_mtime_ns) != segment.sha256:
            raise Damage(path, "its SHA-256 is not the one in manifest.json")


@lru_cache(maxsize=4096)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    """Hashed once for each state of a file, since a service builds many reports over the same segments."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def commented_views() -> tuple[Row, ...]:
    """(view, its comment, column, type, its comment) of every published view, in the order of the files and columns."""
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(catalog.events_view((), ()))
        for name in view_files():
            connection.execute(_text("ledger", "views", name))
        found = connection.execute(
            "SELECT v.view_name, v.comment, c.column_name, c.data_type, c.comment FROM duckdb_views() AS v "
            "JOIN duckdb_columns() AS c ON c.table_oid = v.view_oid AND c.database_name = v.database_name "
            "WHERE NOT v.internal AND v.view_name <> 'events' ORDER BY v.view_oid, c.column_index"
        )
        return tuple(found.fetchall())
    finally:
        connection.close()


def view_files() -> tuple[str, ...]:
    """Names of the ledger's view files, in the order in which they must run."""
    return tuple(
        sorted(entry.name for entry in files("ledger").joinpath("views").iterdir() if entry.name.endswith(".sql"))
    )


@lru_cache(maxsize=64)
def _text(room: str, directory: str, name: str) -> str:
    return files(room).joinpath(directory, name).read_text(encoding="utf-8")


def one(rows: tuple[Row, ...]) -> Row | None:
    """The only row, or none."""
    return rows[0] if rows else None
