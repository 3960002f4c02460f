"""The real thing as processes: `halfpenny serve` and `halfpenny simulate` on free ports, stopped in order or killed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from ledger import admin
from ledger.cli import stamp
from ledger.home import Home, key_hash, new_key
from ledger.store import Ledger
from router.cli import make_home

ROOT = Path(__file__).resolve().parents[1]
CLIENT, ZONE = "acme", "Europe/Berlin"
MEDIUM, LARGE, FLASH = "mistralai/Mistral-Medium-3", "mistralai/Mistral-Large-3", "deepseek-ai/DeepSeek-V4-Flash"
PROVIDER_KEY = "provider-key-that-nobody-may-see"
# What a waiting test gives up after; nothing is asserted about how long anything takes.
START_S = 60.0
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A home with one client and the keys to it."""

    home: Home
    app_key: str
    agent_key: str


@dataclass(slots=True)
class Running:
    """A process that answers. Shapes: `said` is the file of its standard error."""

    process: subprocess.Popen[bytes]
    url: str
    said: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to stop, wait, and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_S)


def prepared(path: Path, *, cap_usd: str | None = None, settings: str = "", edit_rate: str | None = None) -> Prepared:
    """A fresh home with the shipped prices, the client acme, an app key and an agent key."""
    home = make_home(path, settings)
    keys = {role: new_key() for role in ("app", "agent")}
    ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
    try:
        ledger.append_now(
            admin.client_added(
                stamp(), CLIENT, name=None, currency="USD", zone_name=ZONE, edit_rate=edit_rate, private=False
            )
        )
        if cap_usd is not None:
            ledger.append_now(admin.budget_set(stamp(), CLIENT, cap_usd, hard=True, valid_from="2025-01-01"))
        for role, (secret, key_id) in keys.items():
            digest = key_hash(home.pepper(), secret)
            ledger.append_now(admin.key_issued(stamp(), key_id, digest, role=role, client_id=CLIENT))  # type: ignore[arg-type]
    finally:
        ledger.close()
    return Prepared(home, keys["app"][0], keys["agent"][0])


@contextmanager
def provider(path: Path, *more: str, seed: int = 7) -> Iterator[Running]:
    """The simulated provider; its bill is path/provider.jsonl."""
    command = ["simulate", "--port", "0", "--seed", str(seed), "--log", str(path / "provider.jsonl"), *more]
    with _started(command, path / "provider.said", {}, "listening on ", from_stdout=True) as running:
        yield running


@contextmanager
def gateway(home: Home, provider_url: str, *, said: str = "gateway.said", **settings: object) -> Iterator[Running]:
    """`halfpenny serve` on a home. `settings` are section_key=value, as the environment has them."""
    chosen = {"server_port": 0, "server_forward_simulate_headers": "true", "provider_retry_base_s": 0.01} | settings
    environment = {f"HALFPENNY_{name}".upper(): str(value) for name, value in chosen.items()} | {
        "HALFPENNY_PROVIDER_BASE_URL": f"{provider_url}/v1",
        "GLOBAL_API_KEY": PROVIDER_KEY,
    }
    command = ["serve", "--home", str(home.path)]
    with _started(command, home.path.parent / said, environment, "Halfpenny listens on ") as running:
        yield running


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


def commanded(*arguments: str) -> Said:
    """One command of the front door within this process, which takes a tenth of the time of a new one."""
    import halfpenny as front_door

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["halfpenny", *arguments]),
        mock.patch.dict(os.environ, clean_environment(), clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            front_door.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return Said(code, out.getvalue(), err.getvalue())


def halfpenny(*arguments: str, timeout_s: float = START_S, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command as a process of its own, to its end."""
    return subprocess.run(
        command_line(arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=clean_environment() | environment,
    )


def command_line(arguments: Sequence[str]) -> list[str]:
    """How the front door is run from the tree, with warnings as errors like everything here."""
    return [sys.executable, "-W", "error", "-m", "halfpenny", *arguments]


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of ours that someone may have set."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("HALFPENNY_", "GLOBAL_API"))}


@contextmanager
def _started(
    arguments: Sequence[str], said: Path, environment: Mapping[str, str], promise: str, *, from_stdout: bool = False
) -> Iterator[Running]:
    """Start it, wait for the line that begins with `promise` and ends with its URL; kill what is left at the end."""
    with said.open("ab") as file:
        start = file.tell()
        process = subprocess.Popen(
            command_line(arguments),
            cwd=ROOT,
            stdout=file if from_stdout else subprocess.DEVNULL,
            stderr=file,
            env=clean_environment() | environment | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    try:
        yield Running(process, _url_in(process, said, start, promise), said)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _url_in(process: subprocess.Popen[bytes], said: Path, start: int, promise: str) -> str:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        lines = said.read_bytes()[start:].decode().splitlines(keepends=True)
        for line in lines:
            if line.startswith(promise) and line.endswith("\n"):
                return line.rpartition(" ")[2].strip()
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"it did not start; it said: {said.read_bytes()[start:].decode()}")
