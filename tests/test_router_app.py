"""The whole process: start, address, stop by signal, a full disk, a taken port; jobs and the sealing beside calls."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from served_home import MEDIUM, completion, configured, fill, journal_events

from ledger import admin
from ledger.errors import WriteFailed
from ledger.events import BudgetWarned, CallOrphaned, CallReserved, CallSettled
from ledger.home import Home, create
from ledger.lock import owner
from ledger.store import Ledger
from router.app import CannotListen, build, listening, serve
from router.config import terms_of
from router.jobs import Job
from router.standing import Standings

SCRIPT = """
import sys
from pathlib import Path
from ledger.errors import LedgerError
from router.cli import run_service
try:
    sys.exit(run_service(Path(sys.argv[1]), None))
except LedgerError as refused:
    print(refused, file=sys.stderr)
    sys.exit(5)
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def provider(answers: threading.Event) -> Iterator[str]:
    """A provider that answers once it is told to."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answers.wait(20)
            body = completion()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        answers.set()
        server.shutdown()
        server.server_close()


def made_home(path: Path, provider_url: str, settings: str = "") -> Home:
    lines = f'server.port = 0\nprovider.base_url = "{provider_url}/v1"\nprovider.retries = 0\n{settings}'
    home = create(path / "home", lines)
    ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
    fill(ledger, home.pepper(), caps={})
    ledger.close()
    return home


@contextmanager
def process(home: Home, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`halfpenny serve` in a process of its own, and its URL."""
    child = subprocess.Popen(
        [*arguments, sys.executable, "-c", SCRIPT, str(home.path)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    try:
        assert child.stderr is not None
        line = child.stderr.readline()
        yield child, line.strip().rpartition(" ")[2]
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        if child.stderr is not None:
            child.stderr.close()


def ask(url: str, path: str, body: object = None, *, key: str = "hp_app_secret") -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=data, headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


CALL = {"model": MEDIUM, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}


def test_a_stop_ends_calls_in_flight_closes_the_ledger_and_exits_clean(tmp_path: Path) -> None:
    answers = threading.Event()
    with provider(answers) as upstream:
        home = made_home(tmp_path, upstream)
        with process(home) as (child, url):
            said = owner(home.lock)
            assert said is not None
            assert (said.pid, said.url) == (child.pid, url)
            result: list[tuple[int, Any]] = []
            caller = threading.Thread(target=lambda: result.append(ask(url, "/v1/chat/completions", CALL)))
            caller.start()
            _until(lambda: any(isinstance(e, CallReserved) for e in journal_events(home)))

            child.send_signal(signal.SIGTERM)
            _until(lambda: ask(url, "/readyz")[0] == 503)
            answers.set()

            caller.join(10)
            assert child.wait(10) == 0
            assert result[0][0] == 200
    kinds = [type(e) for e in journal_events(home) if isinstance(e, CallReserved | CallSettled | CallOrphaned)]
    assert kinds == [CallReserved, CallSettled]
    Ledger.open(home.path, clock=lambda: datetime.now(UTC)).close()  # the lock is free


def test_a_killed_service_leaves_its_call_as_an_orphan_that_counts_in_full(tmp_path: Path) -> None:
    answers = threading.Event()
    with provider(answers) as upstream:
        home = made_home(tmp_path, upstream)
        with process(home) as (child, url):
            caller = threading.Thread(target=lambda: _quietly(lambda: ask(url, "/v1/chat/completions", CALL)))
            caller.start()
            _until(lambda: any(isinstance(e, CallReserved) for e in journal_events(home)))
            child.kill()
            child.wait()
            answers.set()
            caller.join(10)
    hold = next(e for e in journal_events(home) if isinstance(e, CallReserved))

    ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
    account = ledger.state.account("client", "acme", hold.period)
    ledger.close()

    assert (account.orphaned, account.held + account.settled) == (Decimal(hold.hold_usd), Decimal(0))


def test_commands_write_through_the_service_with_the_homes_token(tmp_path: Path) -> None:
    answers = threading.Event()
    answers.set()
    with provider(answers) as upstream:
        home = made_home(tmp_path, upstream)
        with process(home) as (_, url):
            cap = {"type": "halfpenny.budget.set.v1", "subject": "whole", "scope": "whole", "hard": True}
            cap |= {"valid_from": "2025-01-01T00:00:00Z", "cap_usd": "5"}
            assert ask(url, "/v1/admin/events", [cap], key=home.admin_token())[0] == 200
            assert ask(url, "/v1/chat/completions", CALL)[0] == 200

            status, said = ask(url, "/v1/admin/seal", {}, key=home.admin_token())

            assert (status, said["sealed"] > 0) == (200, True)
            assert list(home.events.rglob("*.parquet"))


def test_a_warning_nobody_took_before_a_kill_is_told_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFPENNY_WEBHOOK_SECRET", "whispered")
    answers = threading.Event()
    answers.set()
    took: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            took.append(self.headers["webhook-id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    # The port is bound and does not listen yet: nobody is there.
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver, bind_and_activate=False)
    receiver.server_bind()
    address = f"http://127.0.0.1:{receiver.server_port}/hook"
    with provider(answers) as upstream:
        home = made_home(tmp_path, upstream, f'budget.webhook_url = "{address}"\nbudget.warn_at = [1.0]')
        ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
        stamp = admin.Stamp("cap", datetime.now(UTC))
        ledger.append_now(admin.budget_set(stamp, "acme", "0.0000001", hard=False, valid_from="2025-01-01"))
        ledger.close()
        with process(home) as (child, url):
            assert ask(url, "/v1/chat/completions", CALL)[0] == 200
            _until(lambda: any(isinstance(e, BudgetWarned) for e in journal_events(home)))
            child.kill()
        receiver.server_activate()
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        try:
            with process(home):
                _until(lambda: bool(took))
        finally:
            receiver.shutdown()
            receiver.server_close()

    (warned,) = (e for e in journal_events(home) if isinstance(e, BudgetWarned))
    assert took == [warned.id]


@pytest.mark.skipif(
    shutil.which("prlimit") is None, reason="prlimit is not installed; on Debian: apt-get install util-linux"
)
def test_a_disk_that_takes_no_more_ends_the_process_without_an_acknowledgement(tmp_path: Path) -> None:
    answers = threading.Event()
    answers.set()
    with provider(answers) as upstream:
        home = made_home(tmp_path, upstream)
        # A file may not grow beyond this; the write that would is refused as on a full disk.
        with process(home) as (child, url):
            assert ask(url, "/v1/chat/completions", CALL)[0] == 200
            subprocess.run(["prlimit", "--pid", str(child.pid), "--fsize=4096"], check=True)
            acknowledged = 0
            with suppress(OSError):  # cut off in the middle, as it should be
                while ask(url, "/v1/chat/completions", CALL)[0] == 200:
                    acknowledged += 1

            assert child.wait(10) != 0
    settled = [e for e in journal_events(home) if isinstance(e, CallSettled)]
    assert len(settled) >= acknowledged + 1


def test_a_taken_port_and_a_home_in_use_are_one_sentence_and_exit_5(tmp_path: Path) -> None:
    answers = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        home = made_home(tmp_path, "http://127.0.0.1:9", "server.drain_s = 1")
        home.config.write_text(home.config.read_text().replace("server.port = 0", f"server.port = {port}"))
        with process(home) as (child, _):
            assert child.wait(20) == 5

    home.config.write_text(home.config.read_text().replace(f"server.port = {port}", "server.port = 0"))
    with process(home), process(home) as (second, _):
        assert second.wait(20) == 5
    answers.set()


@pytest.mark.anyio
async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=str(port)):
            async with listening(web.Application(), "127.0.0.1", port):
                pass


@pytest.mark.anyio
async def test_jobs_run_at_the_start_and_one_that_fails_stops_nothing(tmp_path: Path) -> None:
    ran: list[str] = []
    done, stop = asyncio.Event(), asyncio.Event()

    async def fails() -> None:
        ran.append("fails")
        raise OSError("no such report")

    async def works() -> None:
        ran.append("works")
        done.set()

    home = made_home(tmp_path, "http://127.0.0.1:9")
    ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
    config = configured("http://127.0.0.1:9", "server.port = 0")
    service = build(
        ledger,
        config,
        standings=Standings(terms_of(config)),
        pepper=home.pepper(),
        admin_token=home.admin_token(),
        provider_key=None,
        on_fatal=_ignored,
    )
    urls: list[str] = []
    jobs = [Job("fails", 3600, fails), Job("works", 3600, works)]
    serving = asyncio.create_task(serve(service, config, on_ready=urls.append, jobs=lambda: jobs, stop=stop))
    await asyncio.wait_for(done.wait(), 5)
    stop.set()
    await asyncio.wait_for(serving, 10)
    ledger.close()

    assert (sorted(ran), len(urls)) == (["fails", "works"], 1)


def _ignored(_: WriteFailed) -> None: ...


def _until(is_so: Any, seconds: float = 10.0) -> None:
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if is_so():
            return
        pause.wait(0.02)
    raise TimeoutError


def _quietly(step: Any) -> None:
    with suppress(OSError):  # the service was killed under it
        step()
