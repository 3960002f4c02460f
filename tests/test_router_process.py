"""The service as a process among others: whom it lets at its files, and as whom it runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import structlog

from router.serving import warn_of_root
from tests.running import Running, gateway, halfpenny, prepared

NO_PROVIDER = "http://127.0.0.1:9"  # nothing is asked of one here


def umasks_of(running: Running) -> list[str]:
    """The service's and its sealing child's."""
    service = running.process.pid
    tasks = Path(f"/proc/{service}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    lines = [line for pid in (service, *children) for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return [line.split()[1] for line in lines if line.startswith("Umask:")]


def test_what_the_service_writes_is_for_its_user_alone_whatever_umask_it_was_started_with(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with gateway(prepared(tmp_path / "home").home, NO_PROVIDER) as running:
            assert umasks_of(running) == ["0077", "0077"]
    finally:
        os.umask(before)


def test_neither_the_service_nor_a_command_opens_a_home_that_others_may_use(tmp_path: Path) -> None:
    home = prepared(tmp_path / "home").home
    (home.keys / "pepper").chmod(0o644)

    for command in (("serve",), ("client", "add", "bolt")):
        said = halfpenny(*command, "--home", str(home.path))
        assert (said.returncode, said.stdout) == (5, "")
        assert "keys/pepper: its mode is 0644" in said.stderr
        assert f"chmod -R go= {home.path}" in said.stderr


@pytest.mark.parametrize(("user", "lines"), [(0, 1), (1000, 0)])
def test_a_service_that_runs_as_root_says_so_and_serves(user: int, lines: int) -> None:
    with structlog.testing.capture_logs() as said:
        warn_of_root(user)

    assert [line["event"] for line in said] == ["runs_as_root"] * lines


def test_the_service_tells_its_log_when_it_runs_as_root(tmp_path: Path) -> None:
    with gateway(prepared(tmp_path / "home").home, NO_PROVIDER) as running:
        running.stop()

    _, *logged = running.said.read_text().splitlines()
    assert ("runs_as_root" in [json.loads(line)["event"] for line in logged]) == (os.geteuid() == 0)
