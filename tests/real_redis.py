"""A real Redis or Valkey for tests; a user's machine without one skips, CI installs it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def redis_server(port: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that keeps nothing on a disk, on a free port unless one is given: its process and its URL."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("redis-server is not installed; on Debian: apt-get install redis-server")
    pytest.importorskip("redis")
    if port is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    options = ["--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    with subprocess.Popen([program, *options], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            while b"Ready to accept" not in process.stdout.readline():
                assert process.poll() is None
            yield process, f"redis://127.0.0.1:{port}/0"
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
