"""Drills of the monthly job: each month once, whatever happens to the processes, the clock and the calendar."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running import ROOT, clean_environment, command_line

from ledger import events as e
from ledger.budgets import period_of
from ledger.home import Home, create
from ledger.segments import read_all
from ledger.store import Ledger, read_state
from reports.job import build_due, close_due
from reports.model import read
from reports.places import directory_of, revisions
from tests.made_home import EPOCH, MEDIUM, Book

WAIT_S = 120.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def home_of(path: Path, moments: Sequence[datetime], settings: str = "") -> Home:
    """A real home in which acme made a call at each of these moments."""
    b = Book()
    b.client()
    b.baseline()
    for moment in moments:
        b.call("generation", MEDIUM, moment, (1000, 100))
    home = create(path / "home", f"[server]\nport = 0\n[reports]\n{settings}")
    ledger = Ledger.open(home.path, clock=lambda: EPOCH)
    for event in b.events:
        ledger.append_now(event)
    ledger.close()
    return home


async def turn(home: Home, moment: datetime) -> int:
    """One turn of the job at a moment, as the service takes it."""
    ledger = Ledger.open(home.path, clock=lambda: moment)
    try:
        return await build_due(home, ledger.state, lambda: moment, ledger.append)
    finally:
        ledger.close()


async def closings(home: Home, moment: datetime) -> int:
    """How many months the job closes at a moment."""
    ledger = Ledger.open(home.path, clock=lambda: moment)
    try:
        return await close_due(home, ledger.state, lambda: moment, ledger.append)
    finally:
        ledger.close()


def issued(home: Home) -> list[tuple[str, int, str]]:
    return [(one.period, one.revision, one.status) for one in read_all(home) if isinstance(one, e.ReportIssued)]


def noon(month: int, day: int = 5) -> datetime:
    return datetime(2025, month, day, 12, tzinfo=UTC)


@pytest.mark.anyio
async def test_down_for_three_months_gives_three_reports_and_a_clock_set_back_none(tmp_path: Path) -> None:
    """July and August are past their final day when the service comes back, September is not yet."""
    home = home_of(tmp_path, [noon(7), noon(8), noon(9)], "final_day = 10\n")

    assert await turn(home, noon(10, 5)) == 3
    caught_up = issued(home)
    assert await turn(home, noon(10, 5)) == 0
    assert await turn(home, noon(8, 20)) == 0  # the clock was set back across two month ends
    assert await turn(home, noon(10, 9)) == 0
    assert await turn(home, noon(10, 10)) == 1  # September's final day

    assert caught_up == [("2025-07", 1, "final"), ("2025-08", 1, "final"), ("2025-09", 1, "draft")]
    assert issued(home) == [*caught_up, ("2025-09", 2, "final")]
    assert {month: revisions(directory_of(home, "acme", month)) for month, _, _ in caught_up} == {
        "2025-07": (1,),
        "2025-08": (1,),
        "2025-09": (1, 2),
    }


@pytest.mark.anyio
async def test_an_invoice_that_agrees_closes_the_month_and_one_that_does_not_leaves_it_open(tmp_path: Path) -> None:
    home = home_of(tmp_path, [noon(9)])
    invoice(home, "0.5", within=False)

    assert await closings(home, noon(10, 3)) == 0
    invoice(home, "0.0006", within=True)
    assert await closings(home, noon(10, 4)) == 1
    assert await closings(home, noon(10, 5)) == 0
    assert set(read_state(home).closed) == {("acme", "2025-09")}


def invoice(home: Home, usd: str, *, within: bool, name: str = "") -> None:
    ledger = Ledger.open(home.path, clock=lambda: EPOCH)
    ledger.append_now(
        e.InvoiceRecorded(
            id=f"invoice-{usd}{name}", subject="bill.csv", time=noon(10, 3), provider_name="p", period="2025-09",
            starts_at=noon(9, 1), ends_at=noon(10, 1), invoice_zone="UTC", invoice_sha256="0a" * 32, invoice_lines=1,
            invoice_usd=usd, ledger_usd="0.0006", residual_missing_usd="0", residual_duplicate_usd="0",
            residual_price_usd="0", residual_class_usd="0", residual_clock_usd="0", residual_rounding_usd="0",
            mismatch_usd="0", tolerance_usd="0", within_tolerance=within, orphans_settled=0, orphans_voided=0,
            orphans_open=0, up_to_sequence=1,
        )
    )  # fmt: skip
    ledger.close()


@pytest.mark.anyio
async def test_an_invoice_after_the_close_leads_to_one_more_revision_and_its_repetition_to_none(tmp_path: Path) -> None:
    home = home_of(tmp_path, [noon(9)], "final_day = 2\n")
    assert await turn(home, noon(10, 3)) == 1
    invoice(home, "0.0006", within=True)

    assert await turn(home, noon(10, 4)) == 1
    assert await turn(home, noon(10, 4)) == 0
    invoice(home, "0.0006", within=True, name="again")
    await turn(home, noon(10, 5))
    assert await turn(home, noon(10, 5)) == 0

    place = directory_of(home, "acme", "2025-09")
    assert revisions(place) == (1, 2)
    stages = [read((place / f"r{n}" / "report.json").read_bytes()) for n in (1, 2)]
    assert [(one.status, one.invoice is None) for one in stages] == [("final", True), ("reconciled", False)]


@pytest.mark.anyio
async def test_the_section_reports_of_another_configuration_is_what_the_job_works_by(tmp_path: Path) -> None:
    """The bug: `serve --config FILE` read [reports] from the home's own file."""
    home = home_of(tmp_path, [noon(9)], 'prepared_by = "Nobody"\n')
    other = tmp_path / "other.toml"
    other.write_text('[reports]\nprepared_by = "Ada"\nlanguage = "de"\nfinal_day = 2\n', encoding="utf-8")

    assert await turn(home.under(other), noon(10, 3)) == 1

    report = read((directory_of(home, "acme", "2025-09") / "r1" / "report.json").read_bytes())
    assert (report.prepared_by, report.language, report.status) == ("Ada", "de", "final")


@pytest.mark.anyio
async def test_a_month_with_a_call_in_flight_is_closed_when_the_call_has_ended(tmp_path: Path) -> None:
    home = home_of(tmp_path, [noon(9)], "final_day = 1\n")
    b = Book(ids="late")
    b.client()
    held = b.reserve("generation", MEDIUM, noon(9, 30))
    ledger = Ledger.open(home.path, clock=lambda: noon(10, 2))
    try:
        ledger.append_now(held)
        during = await close_due(home, ledger.state, lambda: noon(10, 2), ledger.append)
        ledger.append_now(b.settle(held, None))
        after = await close_due(home, ledger.state, lambda: noon(10, 2), ledger.append)
    finally:
        ledger.close()

    assert (during, after) == (0, 1)


def killed(home: Home, step: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.killed_build", str(home.path), "acme", "2025-09", str(step)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_killed_at_any_step_there_is_one_report_with_the_same_hash(tmp_path: Path) -> None:
    """Of a copy of the same home each time: what a build leaves behind when it dies is of no consequence."""
    home = home_of(tmp_path, [noon(9)])
    whole = Home(shutil.copytree(home.path, tmp_path / "whole"))
    done = killed(whole, 1000)
    steps = int(done.stdout)
    expected = read_state(whole).issued["acme", "2025-09"].report_sha256

    for step in (2, steps - 2, steps - 1, steps):  # in the files, before the rename, after it, before it is said
        copy = Home(shutil.copytree(home.path, tmp_path / f"killed-{step}"))
        died = killed(copy, step)
        made_up = killed(copy, 1000)

        assert died.returncode == -signal.SIGKILL, died.stderr
        assert issued(copy) == [("2025-09", 1, "draft")], step
        assert read_state(copy).issued["acme", "2025-09"].report_sha256 == expected
        assert revisions(directory_of(copy, "acme", "2025-09")) == (1,)
        assert made_up.returncode == 0, made_up.stderr


def last_month() -> tuple[datetime, str]:
    """A moment in the month before this one, in Berlin, and that month's name."""
    moment = period_of(datetime.now(UTC), "Europe/Berlin").start - timedelta(days=10)
    return moment, period_of(moment, "Europe/Berlin").name


def waited_for(said: object) -> None:
    """Until it is so."""
    until = time.monotonic() + WAIT_S
    while not said():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)


def started(path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (path / "said").open("ab") as file:
        return subprocess.Popen(
            command_line(arguments),
            cwd=ROOT,
            stdout=file,
            stderr=file,
            env=clean_environment() | {"GLOBAL_API_KEY": "k"},
        )


def ended(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    return [process.wait(WAIT_S) for process in processes]


def test_five_builds_at_once_give_one_revision_issued_once(tmp_path: Path) -> None:
    home = home_of(tmp_path, [noon(9)])
    processes = [started(tmp_path, "report", "build", "acme", "2025-09", "--home", str(home.path)) for _ in range(5)]

    codes = [process.wait(WAIT_S) for process in processes]

    assert codes == [0] * 5, (tmp_path / "said").read_text()
    assert issued(home) == [("2025-09", 1, "draft")]
    assert revisions(directory_of(home, "acme", "2025-09")) == (1,)


def test_of_five_services_at_once_one_serves_and_the_month_is_reported_once(tmp_path: Path) -> None:
    moment, month = last_month()
    home = home_of(tmp_path, [moment])
    processes = [started(tmp_path, "serve", "--home", str(home.path)) for _ in range(5)]
    try:
        waited_for(lambda: sum(process.poll() is not None for process in processes) == 4)
        waited_for(lambda: issued(home))
    finally:
        codes = ended(processes)

    assert Counter(codes) == {0: 1, 5: 4}, (tmp_path / "said").read_text()
    assert issued(home) == [(month, 1, "draft")]


def test_a_service_killed_while_it_builds_is_made_up_for_by_the_next(tmp_path: Path) -> None:
    """The child may live on and finish; the next service finds its revision or makes it, and says so once."""
    moment, month = last_month()
    home = home_of(tmp_path, [moment])
    first = started(tmp_path, "serve", "--home", str(home.path))
    try:
        waited_for(lambda: directory_of(home, "acme", month).is_dir())
        first.kill()
        first.wait(WAIT_S)
        second = started(tmp_path, "serve", "--home", str(home.path))
        try:
            waited_for(lambda: issued(home))
        finally:
            codes = ended([second])
    finally:
        ended([first])

    assert codes == [0], (tmp_path / "said").read_text()
    assert issued(home) == [(month, 1, "draft")]
    assert revisions(directory_of(home, "acme", month)) == (1,)
