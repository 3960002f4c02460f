"""Flipped bits, cut ends and swapped files on the modelled disk: a start says which file, or finds the same events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec

from ledger import codec
from ledger.disk import TEMPORARY
from tests.model_disk import Content, Directory, ModelDisk
from tests.power_cuts import BEGIN, GRACE, HOME, ROOT, STARTS, Broken, History, Life, started

WHAT = "a changed file is named or changes nothing"


def run(flips: int, seed: int) -> int:
    """Change files of homes that histories left, one at a time; how many starts refused. Errors: Broken."""
    refused = 0
    done = 0
    while done < flips:
        history, disk = _home(seed)
        draw = Random(seed)
        for _ in range(60):
            refused += _changed(history, disk.cut(draw), draw)
            done += 1
        seed += 1
    return refused


def _home(seed: int) -> tuple[History, ModelDisk]:
    """A home after some lives without faults, all of it durable."""
    history = History(seed)
    disk = ModelDisk(HOME, history.draw)
    disk.make_dir(HOME.path)
    for _ in range(4):
        life = Life(history, disk, is_sound=True)
        life.live()
        disk = disk.killed(history.draw)
        _settle(disk.top)
        history.now += 2 * GRACE
    history.start(disk)
    _settle(disk.top)
    return history, disk


def _settle(directory: Directory) -> None:
    for what in directory.names.values():
        if isinstance(what, Directory):
            _settle(what)
        else:
            what.sync()
    directory.sync()


def _files(directory: Directory, path: Path = ROOT) -> Iterator[tuple[Path, Content]]:
    for name, what in directory.names.items():
        if isinstance(what, Directory):
            yield from _files(what, path / name)
        elif what.data and not name.endswith(TEMPORARY):
            yield path / name, what


def _changed(history: History, disk: ModelDisk, draw: Random) -> int:
    files = [found for found in _files(disk.top) if found[0] != HOME.catalog]
    path, content = draw.choice(files)
    data = bytearray(content.data)
    choice = draw.random()
    if choice < 0.05 and path.parent == HOME.journal:
        data = bytearray(_forged(content.data))
    elif choice < 0.7:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif choice < 0.85:
        del data[draw.randrange(len(data)) :]
    else:
        data = bytearray(draw.choice(files)[1].data)
    if bytes(data) == content.data:
        return 0
    content.data, content.durable = bytes(data), len(data)
    # The end of the last file may be cut back: that is what a cut of the power leaves, and nothing tells them apart.
    told = 0 if choice >= 0.7 and path.parent == HOME.journal else history.told
    try:
        started(disk, history.log, told, BEGIN)
    except Broken as broken:
        if broken.check == STARTS:
            return 1
        raise Broken(WHAT, f"{path}: {broken}") from None
    return 0


def _forged(content: bytes) -> bytes:
    """The file with another event in place of its first, sums and all: only the next event's link shows it."""
    first, end, rest = content.partition(b"\n")
    if not rest:
        return content
    event = codec.decode(first)
    prev = bytes.fromhex(event.prev or "")
    other = msgspec.structs.replace(event, id="forged")
    return codec.relined(other, prev)[0] + rest if end else content
