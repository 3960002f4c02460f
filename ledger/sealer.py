"""All of DuckDB's work for a writer: prepare the next file, seal, compact, publish, collect.

`python -m ledger.sealer HOME` is a long-lived, niced child that reads one JSON command a line and
answers with one: SQL inside the service would move its append p99 from milliseconds to hundreds, so the
service never imports DuckDB or pyarrow. Short commands do the same work inline. Every step may die
anywhere and be asked again. The child holds its parent's lock and dies with its parent.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ledger.disk import REAL, Disk
from ledger.home import Home
from ledger.lock import HomeLock

NICENESS = 10
DEATHS = 3  # of the child over one command, before the command counts as failed
COMMAND_TIMEOUT_S = 600.0  # a compaction of MAX_ROWS takes about a minute
STOP_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be the case. Shapes: journal file numbers; `seal_up_to` -1 seals nothing; units: seconds."""

    seal_up_to: int = -1
    prepare: int | None = None
    grace_seconds: float = 900.0


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is the case now. `trouble` is a sentence for people when not all of it could be done; asking again is safe.

    Shapes: `prepared` only when that file exists, empty, and the published catalog lists it; `waiting` counts files in their grace.
    """

    generation: int = 0
    sealed_up_to: int = -1
    prepared: int | None = None
    waiting: int = 0
    trouble: str | None = None


class Sealer(Protocol):
    """Whoever carries out commands, one at a time."""

    def run(self, command: Command) -> Answer:
        """Carry one out; trouble is in the answer."""
        ...

    def close(self) -> None:
        """Stop, soon."""
        ...


class Inline:
    """The work done in this process."""

    def __init__(
        self, home: Home, *, clock: Callable[[], datetime], disk: Disk = REAL, on_sealed: str | None = None
    ) -> None:
        # Imported here because the service imports this module and must not import DuckDB.
        from ledger.scrub import COMMAND_BYTES, Scrub  # noqa: PLC0415
        from ledger.upkeep import Tools, work  # noqa: PLC0415

        self._home, self._clock, self._work = home, clock, work
        self._tools = Tools(disk=disk, on_sealed=hook(on_sealed), scrub=Scrub(COMMAND_BYTES))

    def run(self, command: Command) -> Answer:
        return self._work(self._home, command, self._tools, now=self._clock())

    def close(self) -> None:
        return


class Child:
    """The work done in a niced child process, started at once and again whenever it has died."""

    def __init__(self, home: Home, *, lock: int, on_sealed: str | None = None) -> None:
        """`lock` is the handle of the home's lock, which the child keeps held while it lives."""
        self._home, self._lock, self._hook = home, lock, on_sealed
        self._process = self._start()
        self._is_closed = False

    def run(self, command: Command) -> Answer:
        for _ in range(DEATHS):
            answer = self._ask(command)
            if answer is not None:
                return answer
            if self._is_closed:
                return Answer(trouble="the sealing process was stopped")
            self._end()
            self._process = self._start()
        return Answer(
            trouble=f"the sealing process died {DEATHS} times over one command, last with {self._process.returncode}"
        )

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._process.communicate(timeout=STOP_TIMEOUT_S)  # closes its input, which ends it
        except subprocess.TimeoutExpired:
            self._end()

    def _ask(self, command: Command) -> Answer | None:
        """None when the child died or did not answer in time."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return None
        try:
            stdin.write(msgspec.json.encode(command) + b"\n")
            stdin.flush()
            if not select.select([stdout], [], [], COMMAND_TIMEOUT_S)[0]:
                return None
            return msgspec.json.decode(stdout.readline(), type=Answer)
        except (OSError, ValueError, msgspec.DecodeError):
            return None

    def _start(self) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parent.parent)
        search = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        hooked = () if self._hook is None else ("--on-sealed", self._hook)
        # -P: a directory that happens to be called ledger where the service was started must not be imported.
        return subprocess.Popen(
            (sys.executable, "-P", "-m", "ledger.sealer", str(self._home.path), "--parent", str(os.getpid()), *hooked),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._lock,),
            env=os.environ | {"PYTHONPATH": search},
        )

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still to be sent to the dead
                    continue


class Ahead:
    """A home's lock and the child under it, begun before the rest of a service is loaded, which takes as long as they do.

    Whoever opens the home takes both over and closes them; closed again, nothing happens.
    """

    def __init__(self, home: Home, *, on_sealed: str | None = None) -> None:
        """Errors: HomeInUse, HomeNotWritable."""
        self.lock = HomeLock(home)
        try:
            self.child = Child(home, lock=self.lock.handle, on_sealed=on_sealed)
        except BaseException:
            self.lock.release()
            raise

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.close()
        self.lock.release()


def hook(name: str | None) -> Any:
    """The function that `module:function` names, to be called at each seal; see segments.OnSealed.

    It is loaded at the first seal: a start waits for the child's first publish, which needs nothing of it.
    """
    if name is None:
        return None
    module, _, function = name.partition(":")

    def call(*given: object) -> None:
        getattr(importlib.import_module(module), function)(*given)

    return call


def main() -> None:
    """The child: answer commands until the parent closes the pipe or dies."""
    parser = argparse.ArgumentParser(
        prog="ledger.sealer", description="Seal and publish for the process that started it."
    )
    parser.add_argument("home", type=Path)
    parser.add_argument("--parent", type=int, required=True, help="process id to die with")
    parser.add_argument("--on-sealed", help="module:function to call at each seal")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then closes the pipe
    _die_with(asked.parent)
    from ledger.upkeep import Tools, work  # noqa: PLC0415 - DuckDB, once the parent knows that this child is there

    home, tools = Home(asked.home), Tools(on_sealed=hook(asked.on_sealed))
    for line in sys.stdin.buffer:
        command = msgspec.json.decode(line, type=Command)
        answer = work(home, command, tools, now=datetime.now(UTC))
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()
        if os.getpriority(os.PRIO_PROCESS, 0) < NICENESS:  # not before the first answer, for which the service waits
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


def _die_with(parent: int) -> None:
    """Be killed when the parent is, so that no stale sealer works beside the next service; where Linux offers it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


if __name__ == "__main__":
    main()
