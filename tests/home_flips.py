"""Flipped bits, cut ends and swapped files over every file of a real home: a named error or the same answer.

    python -m tests.home_flips --flips 50000 --seed 1

Asked each time: the folds of a start, and `halfpenny query`; each REPORT_EVERY-th time also the month's report, which takes as long
as fifteen of the others. One thing cannot be told from a loss of power: the end of the last journal file cut back at a line;
then an answer may lack the last events, never differ otherwise.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from ledger import home as homes
from ledger import snapshots
from ledger.errors import LedgerError
from ledger.events import Event
from ledger.home import Home
from ledger.store import read_state
from reports import model, warehouse
from reports.compose import compose
from reports.month import read_month
from tests.made_home import MEDIUM, Book
from tests.written_homes import START, listed, opened, settled, write

SQL = "SELECT count(*) AS events, sum(cost_usd) AS cost_usd, max(sequence) AS last, count(DISTINCT event_id) AS ids FROM events"
REPORT_EVERY = 50


def made(path: Path) -> Home:
    """A home with three segments, a tail of two files, and a snapshot of nothing later."""
    home, book = homes.create(path, ""), Book()
    book.client()
    book.baseline()
    book.budget("60")
    price_id = book.prices.price_at(MEDIUM, START).price_id

    def calls(numbers: range) -> list[Event]:
        return [settled(number, price_id=price_id) for number in numbers]

    with opened(path) as writer:
        write(writer, book.events)
        for start in (0, 40, 80):
            write(writer, [listed(start), *calls(range(start, start + 30))])
            writer.seal()
        write(writer, calls(range(200, 215)))
    with opened(path, clock=lambda: START) as writer:
        write(writer, calls(range(300, 310)))
    return home


def folded(home: Home) -> object:
    """What a start would fold."""
    return snapshots.dump(read_state(home))


def queried(home: Home) -> object:
    """What `halfpenny query` says."""
    return warehouse.asked(home.path, SQL)


def reported(home: Home) -> object:
    """The report of the month, every figure and word of it."""
    return model.written(compose(read_month(home.path, "acme", "2025-10"), prepared_by="Ada", revision=1))


ASKED: tuple[tuple[str, Callable[[Home], object], int], ...] = (
    ("folds", folded, 1),
    ("query", queried, 1),
    ("report", reported, REPORT_EVERY),
)


def run(directory: Path, flips: int, seed: int) -> Counter[str]:
    """Change one file at a time. Errors: AssertionError naming file, change and seed."""
    home = made(directory / "home")
    files = sorted(path for path in home.path.rglob("*") if path.is_file() and path.stat().st_size)
    files = [path for path in files if path.parent != home.keys and path.name not in ("LOCK", "halfpenny.toml")]
    expected = {name: asked(home) for name, asked, _ in ASKED}
    last_journal = max(path for path in files if path.parent == home.journal)
    draw, counts = Random(seed), Counter[str]()
    for number in range(flips):
        path = draw.choice(files)
        before = path.read_bytes()
        change, data = _changed(before, draw.choice(files), draw)
        if data == before:
            continue
        path.write_bytes(data)
        for name, asked, every in ASKED:
            if number % every:
                continue
            try:
                found = asked(home)
            except (LedgerError, FileNotFoundError) as refused:
                counts[f"{name}: named"] += 1
                if not str(refused):
                    raise AssertionError(f"seed {seed}, change {number}: no word about {path.name}") from None
            else:
                may_lack = path == last_journal and change != "flip"
                if found != expected[name] and not may_lack:
                    raise AssertionError(f"seed {seed}, change {number}: {change} of {path}: {name} say {found!r}")
                counts[f"{name}: {'the same' if found == expected[name] else 'an end cut back'}"] += 1
        counts[change] += 1
        path.write_bytes(before)
    return counts


def _changed(before: bytes, other: Path, draw: Random) -> tuple[str, bytes]:
    choice = draw.random()
    if choice < 0.7:
        data = bytearray(before)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return "flip", bytes(data)
    if choice < 0.85:
        return "cut", before[: draw.randrange(len(before))]
    return "swap", other.read_bytes()


def main() -> int:
    """Change, print the counts, exit 1 at another answer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--flips", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="flips-"))
    try:
        counts = run(directory, asked.flips, asked.seed)
    except AssertionError as wrong:
        print(wrong)
        return 1
    finally:
        shutil.rmtree(directory)
    print(", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
