"""The published schemas and the code say the same, and what was published stays as it was."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

import schemas
from ledger import codec
from ledger.events import EVENTS, STAMPS, Event, KeyRevoked

ROOT = Path(schemas.__file__).parent
PUBLISHED: dict[str, str] = tomllib.loads((ROOT / "published.toml").read_text(encoding="utf-8"))["sha256"]
BY_KIND = [pytest.param(kind, id=kind.__name__) for kind in EVENTS]


def path_of(kind: type[Event]) -> Path:
    return ROOT / "events" / f"{str(kind.__struct_config__.tag).removeprefix('halfpenny.')}.json"


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def normalised(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without words for people, and without the null that the journal never writes."""
    if "anyOf" in schema:
        (schema,) = [part for part in schema["anyOf"] if part != {"type": "null"}]
    kept = {name: value for name, value in schema.items() if name not in ("description", "title", "default")}
    if "const" in kept:
        kept["enum"] = [kept.pop("const")]
    if "enum" in kept:
        kept["enum"] = sorted(kept["enum"])
    if "items" in kept:
        kept["items"] = normalised(kept["items"])
    return kept


def properties_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: normalised(value) for name, value in schema["properties"].items()}


@pytest.mark.parametrize("kind", BY_KIND)
def test_code_and_schema_are_equal(kind: type[Event]) -> None:
    code = msgspec.json.schema(kind)["$defs"][kind.__name__]
    schema = read(path_of(kind))

    assert properties_of(schema) == properties_of(code)
    assert list(schema["properties"]) == list(code["properties"])  # also in the order of a line's keys
    assert sorted(schema["required"]) == sorted(code["required"])
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert code["additionalProperties"] is False


def test_the_envelope_is_what_every_event_has_with_the_stamps_required() -> None:
    envelope, bare = read(ROOT / "envelope.v1.json"), msgspec.json.schema(KeyRevoked)["$defs"]["KeyRevoked"]

    ours, codes = properties_of(envelope), properties_of(bare)
    assert ours.pop("type") == {"type": "string", "pattern": r"^halfpenny(\.[a-z]+)+\.v[1-9][0-9]*$"}
    codes.pop("type")
    assert ours == codes
    assert envelope["required"] == ["type", "id", "subject", "time", *STAMPS]
    assert envelope["additionalProperties"] is True


@pytest.mark.parametrize("path", sorted(PUBLISHED))
def test_a_published_schema_never_changes(path: str) -> None:
    found = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()

    assert found == PUBLISHED[path], f"{path} was published: leave it, and write the next version beside it."


def test_every_event_schema_is_published_and_every_event_has_one() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "events").iterdir()}

    assert files == {path for path in PUBLISHED if path.startswith("events/")}
    assert {path_of(kind).relative_to(ROOT).as_posix() for kind in EVENTS} <= files
    assert "envelope.v1.json" in PUBLISHED


@pytest.mark.parametrize("path", sorted(path for path in PUBLISHED if path.startswith(("events/", "envelope."))))
def test_a_schema_is_valid_described_and_named_by_its_file(path: str) -> None:
    schema = read(ROOT / path)

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "halfpenny." + Path(path).name.removesuffix(".json")
    assert schema["$id"] == "urn:" + schema["title"].replace(".", ":")
    assert schema["description"].endswith(".")
    assert all(len(value.get("description", "")) > 5 for value in schema["properties"].values())


@pytest.mark.parametrize("kind", BY_KIND)
def test_the_example_of_a_schema_is_an_event_and_is_written_as_it_stands(kind: type[Event]) -> None:
    schema = read(path_of(kind))
    (example,) = schema["examples"]

    event = codec.decode(msgspec.json.encode(example))
    written = json.loads(codec.encode(event))

    Draft202012Validator(schema).validate(example)
    assert type(event) is kind
    assert written == example
    assert list(written) == list(example)


def test_the_example_of_the_envelope_is_a_whole_line_of_the_journal() -> None:
    envelope = read(ROOT / "envelope.v1.json")
    (example,) = envelope["examples"]
    line = msgspec.json.encode(example)

    Draft202012Validator(envelope).validate(example)
    Draft202012Validator(read(path_of(KeyRevoked))).validate(example)
    recorded = codec.read_line(line)

    assert codec.relined(recorded.event, codec.GENESIS) == (line + b"\n", recorded.hash)


@pytest.mark.parametrize("kind", BY_KIND)
@pytest.mark.parametrize("breach", ["null", "unknown", "missing", "number for text"])
def test_schema_and_code_refuse_alike(kind: type[Event], breach: str) -> None:
    schema = read(path_of(kind))
    (example,) = schema["examples"]
    broken: dict[str, Any] = {
        "null": example | {"subject": None},
        "unknown": example | {"colour": "red"},
        "missing": {name: value for name, value in example.items() if name != "id"},
        "number for text": example | {"id": 7},
    }[breach]

    assert not Draft202012Validator(schema).is_valid(broken)
    with pytest.raises(codec.BadLine):
        codec.decode(msgspec.json.encode(broken))


def test_money_is_text_in_every_schema() -> None:
    for kind in EVENTS:
        for name, value in read(path_of(kind))["properties"].items():
            if name.endswith(("_usd", "_usd_per_hour")) or (name.startswith("rate_") and name != "rate_source"):
                assert value["type"] == "string", (kind.__name__, name)
                assert "pattern" in value, (kind.__name__, name)
