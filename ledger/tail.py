"""The journal's files, read strictly: every check sum, every sequence, every link of the chain.

A journal file can be torn at one place only: the end of the last file that holds anything,
where the power went while a group was being written that nobody was told of. There the good
lines count and the rest is left out. The same anywhere else is Damage, with file and offset.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from ledger import codec, trusted
from ledger.codec import BadLine
from ledger.disk import Disk
from ledger.errors import Damage
from ledger.events import Event
from ledger.home import Home
from ledger.manifest import Manifest, Position

BLOCK_BYTES = 4 * 1024 * 1024
SUFFIX = ".jsonl"
_SUMS = len(b',"prev":"","hash":"","crc":""}') + 2 * 32 + 8

Take = Callable[[Event], object]
Decode = Callable[[bytes], Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEnd:
    """How a journal file ends. Units: bytes; `good_bytes` holds whole lines, `torn_bytes` follow them.

    Shapes: `is_terminated` is False when the last good line lacks its newline.
    """

    position: Position
    events: int
    good_bytes: int
    torn_bytes: int
    is_terminated: bool


# A start asks for the same few again and again, and joining paths is what it would spend its time on.
@lru_cache(maxsize=1024)
def path_of(home: Home, number: int) -> Path:
    """The journal file of this number."""
    return home.journal / f"{number:010d}{SUFFIX}"


def numbers(home: Home, disk: Disk) -> tuple[int, ...]:
    """The journal files that are there, ascending."""
    stems = (name.removesuffix(SUFFIX) for name in disk.list(home.journal) if name.endswith(SUFFIX))
    return tuple(sorted(int(stem) for stem in stems if stem.isdecimal()))


def tail_numbers(home: Home, disk: Disk, manifest: Manifest) -> tuple[int, ...]:
    """The files that hold what is not sealed yet: all after `sealed_up_to`, of which there is always one.

    Errors: Damage when one is missing in between, or all are.
    """
    first = manifest.sealed_up_to + 1
    found = tuple(number for number in numbers(home, disk) if number >= first)
    for expected, number in enumerate(found or (first - 1,), start=first):
        if number != expected:
            raise Damage(path_of(home, expected), "the file is missing, and its events are not sealed yet")
    return found


def readable(home: Home, disk: Disk, found: tuple[int, ...]) -> tuple[int, ...]:
    """Those up to the last that holds anything now: while a service writes, no earlier one grows any more."""
    sizes = [(number, disk.size(path_of(home, number))) for number in reversed(found)]
    last = next((number for number, size in sizes if size), None)
    return () if last is None else tuple(number for number in found if number <= last)


def read_tail(
    home: Home, disk: Disk, manifest: Manifest, take: Take
) -> tuple[Position, tuple[tuple[int, FileEnd], ...]]:
    """Hand every unsealed event to `take`, in sequence order; returns the end and how each file ends.

    Shapes: files after the last non-empty one are not in the answer; only the last may have `torn_bytes`.
    Errors: Damage.
    """
    position, ends = manifest.end, []
    found = readable(home, disk, tail_numbers(home, disk, manifest))
    for number in found:
        end = read_file(
            disk,
            path_of(home, number),
            start=position,
            source=manifest.source,
            take=take,
            may_be_torn=number == found[-1],
            decode=trusted.decode,
        )
        position = end.position
        ends.append((number, end))
    return position, tuple(ends)


def read_file(
    disk: Disk,
    path: Path,
    *,
    start: Position,
    source: str,
    take: Take,
    may_be_torn: bool,
    decode: Decode = codec.decode,
) -> FileEnd:
    """Check and hand over one file's events, which must follow `start`.

    Shapes: `decode` gets lines whose sums hold.
    Errors: Damage naming file and offset for anything but good lines, and a torn end where it `may_be_torn`.
    """
    sequence, last = start
    offset, count, is_terminated = 0, 0, True
    for line, is_terminated in _lines(disk, path):
        try:
            last = checked(line, last)
            event = decode(line)
            if event.sequence != sequence + 1 or event.source != source:
                raise BadLine(f"it is event {event.sequence} of {event.source}, expected {sequence + 1} of {source}")
        except BadLine as refused:
            rest = disk.read(path, offset)
            if may_be_torn and is_torn(rest):
                return FileEnd(
                    position=Position(sequence, last),
                    events=count,
                    good_bytes=offset,
                    torn_bytes=len(rest),
                    is_terminated=True,
                )
            raise Damage(path, f"the line of event {sequence + 1} cannot stand: {refused}", offset=offset) from None
        take(event)
        sequence += 1
        count += 1
        offset += len(line) + is_terminated
    return FileEnd(
        position=Position(sequence, last), events=count, good_bytes=offset, torn_bytes=0, is_terminated=is_terminated
    )


def checked(line: bytes, prev: bytes) -> bytes:
    """The hash of a line that follows the hash `prev`, once both its sums were compared. Shapes: without the newline.

    Errors: BadLine saying which check failed.
    """
    # The stamps at the end have one length, so that all three checks are one comparison; only a line
    # that fails is taken apart to say why.
    hashed = line[:-_SUMS]
    digest = sha256(prev + hashed).digest()[:16]
    links = b',"prev":"%b","hash":"%b"' % (hexlify(prev), hexlify(digest))
    if line[-_SUMS:] == b'%b,"crc":"%08x"}' % (links, crc32(links, crc32(hashed))):
        return digest
    found = codec.read_line(line)
    raise BadLine(f"event {found.event.sequence} ({found.event.id}) does not follow the event before it")


def is_torn(rest: bytes) -> bool:
    """Whether these last bytes of the last file are a write that never finished, and not an event that was changed.

    A cut leaves a line without its newline, or sectors of zeros; no line holds a zero byte. A whole line that fails its
    sum, or a good one after a bad one, was written and has been damaged since.
    """
    lines = rest.split(b"\n")
    if any(_is_good(line) for line in lines):
        return False
    return b"\0\0" in rest or (len(lines) == 1 and not _is_good(rest[:-1]))


def _is_good(line: bytes) -> bool:
    try:
        codec.read_line(line)
    except ValueError:  # BadLine, and what garbage does to the hexadecimal digits in it
        return False
    return True


def _lines(disk: Disk, path: Path) -> Iterator[tuple[bytes, bool]]:
    """Every line without its newline, and whether it had one; block by block, so that a file may be of any size."""
    offset, rest = 0, b""
    while block := disk.read(path, offset, BLOCK_BYTES):
        offset += len(block)
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line, True
    if rest:
        yield rest, False
