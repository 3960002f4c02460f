"""The walks in ledger/README.md are what the commands say, line by line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.home import Home
from tests.running import ROOT
from tests.test_ledger_corrections import home as _home
from tests.test_ledger_corrections import said

home = _home
README = (ROOT / "ledger" / "README.md").read_text(encoding="utf-8")


def walk(after: str) -> Iterator[tuple[list[str], list[str]]]:
    """Each line of commands of the first block after these words, and the lines it is shown to say; comments left out."""
    block = README[README.index(after) :].split("```")[1]
    commands: list[str] = []
    shown: list[str] = []
    for line in (line.partition("  #")[0].rstrip() for line in block.splitlines() if line):
        if line.startswith("$ "):
            if commands:
                yield commands, shown
            commands, shown = line[2:].split(";"), []
        else:
            shown.append(line)
    yield commands, shown


@pytest.mark.parametrize("after", ["## A price that comes after the fact", "**Months that must go.**"])
def test_the_walk_is_what_the_commands_say(
    home: Home, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    last: list[str] = []
    checked = 0
    for commands, shown in walk(after):
        heard = ""
        for command in commands:
            words = shlex.split(command)[1:]
            if words[-1] == "…":  # the one before, and this time for good
                words = [word for word in last if word != "--dry-run"]
            last = words
            found = said(home, *words)
            heard += found.out + found.err
        for line in shown:
            for word in re.sub("…", " ", line).split():
                assert word in heard, f"{' '.join(last)}: {line!r} is shown, and it says:\n{heard}"
            checked += 1
    assert checked >= 3
