"""Freeze what is published and in no home under tests/homes yet: the examples of its schemas, half sealed and half in the journal.

python -m tests.freeze v1-later         makes tests/homes/v1-later; whatever is there already stays as it is
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import msgspec

from ledger import codec
from ledger.events import STAMPS, Event
from tests.written_homes import made, opened, write

HOMES = Path(__file__).parent / "homes"
SCHEMAS = Path(__file__).parent.parent / "schemas" / "events"
KEPT = ("halfpenny.toml", "manifest.json", "written.json", "events", "journal")


def published() -> dict[str, Path]:
    """Every published type with its version, and its schema."""
    return {f"halfpenny.{path.name.removesuffix('.json')}": path for path in sorted(SCHEMAS.glob("*.json"))}


def frozen() -> dict[str, set[str]]:
    """The types each frozen home holds."""
    return {
        path.parent.name: {one["type"] for one in json.loads(path.read_text())} for path in HOMES.glob("*/written.json")
    }


def freeze(name: str) -> int:
    """Make the home; how many events it holds."""
    lacking = sorted(set(published()) - set().union(*frozen().values()))
    if not lacking:
        return 0
    events = [_example(published()[tag]) for tag in lacking]
    home = made(HOMES / name)
    home.config.write_text("\n")
    with opened(home.path) as writer:
        write(writer, events[: len(events) // 2])
        writer.seal()
        write(writer, events[len(events) // 2 :])
    (home.path / "written.json").write_bytes(b"[\n" + b",\n".join(map(codec.encode, events)) + b"\n]\n")
    for path in home.path.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len(events)


def _example(schema: Path) -> Event:
    event = codec.decode(msgspec.json.encode(json.loads(schema.read_text())["examples"][0]))
    return msgspec.structs.replace(event, **dict.fromkeys(STAMPS))


if __name__ == "__main__":
    print(f"{freeze(sys.argv[1])} events frozen.")
