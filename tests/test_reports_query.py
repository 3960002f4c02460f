"""`halfpenny query`: one SELECT over the views, in a process that can write nothing and is ended when it asks for too much."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ledger.errors import InvalidInput
from reports import warehouse
from reports.asking import asked
from reports.errors import QueryFailed
from router.cli import make_home
from router.config import default_text
from tests.conftest import NOT_ALLOWED
from tests.running import ROOT, commanded


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh home: eight listed prices and a baseline."""
    return make_home(tmp_path_factory.mktemp("asked") / "home", default_text()).path


def tree(home: Path) -> dict[str, str]:
    """Every file of a home and what is in it."""
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in home.rglob("*") if file.is_file()}


def test_a_select_sees_every_event_recorded(home: Path) -> None:
    assert asked(home, "SELECT count(*) AS n FROM events") == [{"n": 9}]


@pytest.mark.parametrize("then", [None, datetime(2100, 1, 1, tzinfo=UTC)])
def test_one_event_is_found_by_its_id(home: Path, then: datetime | None) -> None:
    ((name,),) = [tuple(row.values()) for row in asked(home, "SELECT event_id FROM events WHERE sequence = 4")]

    assert asked(home, f"FROM event('{name}') SELECT sequence", then) == [{"sequence": 4}]


def test_values_arrive_as_they_are_printed(home: Path) -> None:
    sql = (
        "SELECT 0.10::DECIMAL(18,12) AS a, 170141183460469231731687303715884105727::HUGEINT AS b, NULL AS c, true AS d, "
        "TIMESTAMPTZ '2025-10-01 00:00:00+00' AS e, DATE '2025-10-01' AS f, [1, 2] AS g, {'x': 'é'} AS h, 'nan'::DOUBLE IS NULL AS i"
    )
    assert asked(home, sql) == [
        {
            "a": Decimal("0.10"), "b": Decimal(2**127 - 1), "c": None, "d": True,
            "e": "2025-10-01 00:00:00+00:00", "f": "2025-10-01", "g": [1, 2], "h": {"x": "é"}, "i": False,
        }
    ]  # fmt: skip


def test_what_is_refused_in_the_child_is_refused_with_the_same_words(home: Path) -> None:
    for sql in ("SELECT 1; SELECT 2", "SELECT nothing FROM nowhere"):
        with pytest.raises(InvalidInput) as here:
            warehouse.asked(home, sql)
        with pytest.raises(InvalidInput) as there:
            asked(home, sql)
        assert str(there.value) == str(here.value)


def test_an_answer_of_many_parts_is_whole_and_one_of_none_is_empty(home: Path) -> None:
    assert [row["range"] for row in asked(home, "SELECT * FROM range(5001)")] == list(range(5001))
    assert asked(home, "SELECT 1 WHERE false") == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_blob('{home}/keys/pepper')",
        "SELECT * FROM read_blob('{home}/events/../keys/pepper')",
        "SELECT * FROM read_text('http://127.0.0.1:9/')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM parquet_metadata('/etc/passwd')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT getenv('HOME')",
        "SELECT * FROM query('COPY (SELECT 1) TO ''out.csv''')",
        "SELECT * FROM home",  # a variable of the program is no table
        "COPY (SELECT 1) TO 'out.csv'",
        "COPY (SELECT 1) TO '{home}/journal/0000000001.jsonl'",
        "EXPORT DATABASE '{home}/events'",
        "ATTACH '{home}/events/x.duckdb'",
        "DETACH ledger",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "CALL enable_logging()",
        "SELECT 1; SELECT 2",
        "CREATE TABLE t AS SELECT 1",
        "INSERT INTO events SELECT * FROM events",
        "DELETE FROM prices",
        "SET memory_limit = '8GB'",
        "RESET allowed_directories",
        "SELECT nothing FROM nowhere",
        "",
        "nonsense",
    ],
)
def test_anything_but_one_select_over_the_views_is_refused_and_changes_nothing(home: Path, sql: str) -> None:
    before = tree(home)

    with pytest.raises(InvalidInput):
        warehouse.asked(home, sql.replace("{home}", str(home)))  # what the child runs, without a process for each

    assert tree(home) == before


def test_a_query_without_end_is_ended(home: Path) -> None:
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT sum(n) FROM t"

    with pytest.raises(InvalidInput, match="more than 2 s"):
        asked(home, endless, seconds=2)


@pytest.mark.parametrize(
    "sql", ["SELECT length(repeat('x', 4000000000))", "SELECT string_agg(repeat('x', 1000000), '') FROM range(100000)"]
)
def test_a_query_that_wants_more_memory_than_it_may_have_is_refused(home: Path, sql: str) -> None:
    with pytest.raises(InvalidInput, match=r"(?i)memory"):
        asked(home, sql)


def test_an_answer_larger_than_may_be_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.asking.ANSWER_BYTES", 100_000)

    with pytest.raises(InvalidInput, match="larger than"):
        asked(home, "SELECT repeat('x', 100) FROM range(10000)")


def test_damage_is_told_with_its_own_exit_code(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", default_text()).path
    journal = next(file for file in (home / "journal").iterdir() if b"global_api" in file.read_bytes())
    journal.write_bytes(journal.read_bytes().replace(b"global_api", b"global_apx", 1))

    with pytest.raises(QueryFailed, match="jsonl"):
        asked(home, "SELECT 1")
    assert commanded("query", "SELECT 1", "--home", str(home)).code == 4


# DuckDB told to allow everything, as a fault in its own settings would leave it: the system still says no.
UNBOUND = """
import os, sys
from reports.confined import confine
held = confine(2 << 30)
import duckdb
at, said = sys.argv[1], duckdb.connect(":memory:")
for sql in ("COPY (SELECT 1) TO '{}/kept.parquet'", "COPY (SELECT 1) TO '{}/new.csv'", "ATTACH '{}/new.duckdb'", "EXPORT DATABASE '{}/out'"):
    try:
        said.execute(sql.format(at))
        sys.exit(f"written: {sql}")
    except duckdb.Error:
        pass
for change in (
    lambda: open(at + "/kept.parquet", "w"), lambda: os.truncate(at + "/kept.parquet", 0), lambda: os.unlink(at + "/kept.parquet"),
    lambda: os.rename(at + "/kept.parquet", at + "/b"), lambda: os.mkdir(at + "/d"), lambda: os.symlink("/", at + "/l"),
):
    try:
        held and (change(), sys.exit("changed"))
    except PermissionError:
        pass
print("held" if held else "bounded", said.execute("SELECT count(*) FROM read_text('" + at + "/kept.parquet')").fetchone()[0])
"""


def test_even_a_duckdb_that_allows_everything_writes_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "kept.parquet"
    kept.write_text("a ledger's file")
    said = subprocess.run(
        (sys.executable, "-c", UNBOUND, str(tmp_path)), cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert said.returncode == 0, said.stderr
    assert kept.read_text() == "a ledger's file"
    assert all(file.stat().st_size == 0 for file in tmp_path.rglob("*") if file.is_file() and file != kept)
    if said.stdout.split() != ["held", "1"]:
        pytest.skip(f"{NOT_ALLOWED}this kernel has no Landlock: nothing was written, but empty files could be made")
    assert list(tmp_path.iterdir()) == [kept]
