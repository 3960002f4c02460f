"""The demo's stage: a fresh home, the simulated provider and the real gateway as processes of their own, and the month."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ledger import admin
from ledger.budgets import period_named
from ledger.cli import stamp
from ledger.closing import month_closed
from ledger.errors import Conflict, HomeError
from ledger.home import Home, key_hash, new_key
from ledger.hours import hours_logged
from ledger.segments import read_all
from ledger.store import Ledger
from ledger.verify import verify
from router.app import loop_factory
from router.cli import make_home
from router.config import default_text
from router.demo_month import Sent, send_month
from router.demo_sources import shipped_sources
from router.demo_tickets import DemoTicket, demo_month
from router.provider_bill import compare, read_bill

CLIENT = "acme"
CLIENT_NAME = "Quillmere GmbH"
ZONE = "Europe/Berlin"
EDIT_USD_PER_HOUR = "27.20"
BUDGET_USD = "340"
HOURS = (("03", "4", "integration"), ("09", "8", "comparing models"), ("14", "6", "routing"))  # day, hours, activity
HOURLY_RATE = "80"  # USD: what the freelancer bills
MARKER = "DEMO"  # a home with this file in it is the demo's own, to be made anew
_CHUNK_WORDS = 100  # a streamed reply in some thirty chunks: the client spends a quarter of a millisecond on each
_START_S = 30.0
_STOP_S = 60.0


class DidNotStart(HomeError):
    """A process of the demo that did not come up."""

    def __init__(self, what: str, said: str) -> None:
        super().__init__(f"The {what} did not start. It said: {said.strip() or 'nothing'}")


@dataclass(frozen=True, slots=True)
class Stage:
    """A prepared home and the keys to it."""

    home: Home
    app_key: str
    agent_key: str
    tickets: tuple[DemoTicket, ...]

    @property
    def provider_log(self) -> Path:
        """What the simulated provider would bill."""
        return self.home.path / "provider.jsonl"


def prepare(path: Path, month: str, seed: int, *, policy: str = "label", budget_usd: str = BUDGET_USD) -> Stage:
    """A fresh demo home with one client, its budget from the month's start, and two keys.

    Errors: Conflict when a directory is there that is not a demo's; BadPeriod; HomeNotWritable.
    """
    start = period_named(month, ZONE).start
    if path.exists() and any(path.iterdir()):
        if not (path / MARKER).exists():
            raise Conflict(f"{path} exists and is not a demo's. Choose another directory with --home.")
        shutil.rmtree(path)
    home = make_home(path, _config(policy))
    (path / MARKER).write_text("Made by `halfpenny demo`, which makes it anew each time.\n", encoding="utf-8")
    keys = {role: new_key() for role in ("app", "agent")}
    ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
    try:
        ledger.append_now(
            admin.client_added(
                stamp(),
                CLIENT,
                name=CLIENT_NAME,
                currency="USD",
                zone_name=ZONE,
                edit_rate=EDIT_USD_PER_HOUR,
                private=False,
            )
        )
        ledger.append_now(
            admin.budget_set(stamp(), CLIENT, budget_usd, hard=True, valid_from=start.isoformat()),
            *(
                admin.key_issued(stamp(), key_id, key_hash(home.pepper(), secret), role=role, client_id=CLIENT)  # type: ignore[arg-type]
                for role, (secret, key_id) in keys.items()
            ),
        )
        for day, hours, activity in HOURS:
            now, worked = stamp(), {"hours": hours, "activity": activity, "on": f"{month}-{day}", "rate": HOURLY_RATE}
            ledger.append_now(hours_logged(ledger.state, CLIENT, event_id=now.event_id, now=now.now, **worked))
    finally:
        ledger.close()
    tickets = demo_month(seed, month, ZONE, sources=shipped_sources())
    return Stage(home=home, app_key=keys["app"][0], agent_key=keys["agent"][0], tickets=tickets)


def _config(policy: str) -> str:
    """The shipped configuration with a policy, and what replaying a past month needs."""
    replay = 'clock = "request"\nforward_simulate_headers = true\ntrust_simulated_durations = true\n'
    return default_text(port=0, policy=policy).replace("[provider]", replay + "\n[provider]", 1)


def perform(stage: Stage, seed: int, on_ticket: Callable[[], None]) -> Sent:
    """Start both processes, send the month, stop both; what came of it.

    Errors: DidNotStart; KeyboardInterrupt after both were stopped, so that the ledger verifies. SIGTERM is taken as Ctrl-C is.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return _perform(stage, seed, on_ticket)
    finally:
        signal.signal(signal.SIGTERM, before)


def _perform(stage: Stage, seed: int, on_ticket: Callable[[], None]) -> Sent:
    simulator = [sys.executable, "-m", "router", "simulate", "--port", "0", "--seed", str(seed)]
    simulator += ["--log", str(stage.provider_log), "--chunk-words", str(_CHUNK_WORDS)]
    with _process("simulated provider", simulator, {}, _simulator_url) as provider_url:
        gateway = [sys.executable, "-m", "router", "serve", "--home", str(stage.home.path), "--port", "0"]
        environment = {
            "HALFPENNY_PROVIDER_BASE_URL": f"{provider_url}/v1",
            "HALFPENNY_PROVIDER_KEY_ENV": "HALFPENNY_DEMO_PROVIDER_KEY",
            "HALFPENNY_DEMO_PROVIDER_KEY": "the simulated provider takes any key",
            "HALFPENNY_SERVER_LOG_LEVEL": "warning",
        }

        def announced(_: subprocess.Popen[str]) -> str | None:
            try:
                url = json.loads(stage.home.lock.read_text(encoding="utf-8")).get("url")
            except ValueError:
                return None
            return str(url) if url else None

        with _process("gateway", gateway, environment, announced) as url:
            month = send_month(
                url,
                app_key=stage.app_key,
                agent_key=stage.agent_key,
                seed=seed,
                tickets=stage.tickets,
                sources=shipped_sources(),
                on_ticket=on_ticket,
            )
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                return runner.run(month)


def _simulator_url(process: subprocess.Popen[str]) -> str | None:
    line = process.stdout.readline() if process.stdout is not None else ""
    return line.rpartition(" ")[2].strip() if line.startswith("listening on ") else None


@contextmanager
def _process(
    what: str, command: list[str], environment: dict[str, str], url_of: Callable[[subprocess.Popen[str]], str | None]
) -> Iterator[str]:
    # A session of its own, so that Ctrl-C reaches the demo alone, which then stops its processes in their order.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | environment, start_new_session=True
    )
    try:
        deadline = time.monotonic() + _START_S
        while (url := url_of(process)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise DidNotStart(what, process.stdout.read() if process.poll() is not None and process.stdout else "")
            time.sleep(0.02)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def finish(stage: Stage, month: str) -> None:
    """Seal the journal and close the month, as on its first morning after."""
    ledger = Ledger.open(stage.home.path, clock=lambda: datetime.now(UTC))
    try:
        closing = admin.Stamp(stamp().event_id, moment_after(month))
        ledger.append_now(month_closed(ledger.state, closing, CLIENT, month))
        ledger.seal()
    finally:
        ledger.close()


def checked(stage: Stage) -> tuple[str, ...]:
    """What the log's own check and the provider's own bill say of the ledger, a line each."""
    verified = verify(stage.home)
    comparison = compare(read_all(stage.home), read_bill(stage.provider_log))
    return (f"Ledger     {verified}", f"Provider   {comparison}")


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr; gives what to call when one more is done."""
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task("tickets", total=total)
        yield lambda: bar.advance(task)


def moment_after(month: str) -> datetime:
    """When the demo closes its month: the first morning after it, in the client's zone."""
    return period_named(month, ZONE).end + timedelta(hours=6)
