"""Lines of the journal: what is written is read back, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import types
import typing
import zlib
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import codec, trusted
from ledger import events as e
from ledger.codec import GENESIS, BadLine
from ledger.columns import columns
from ledger.events import EVENTS, STAMPS, Event

AT = datetime(2025, 10, 3, 8, 15, 2, 123456, tzinfo=UTC)
REVOKED = e.KeyRevoked(id="e-1", subject="hp_3f9c21ab", time=AT, client_id="acme")
BODY = (
    b'{"type":"halfpenny.key.revoked.v1","id":"e-1","subject":"hp_3f9c21ab",'
    b'"time":"2025-10-03T08:15:02.123456Z","client_id":"acme"}'
)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Valid values of a field's type, as whoever states an event makes them."""
    shape, parts = get_origin(hint), get_args(hint)
    if shape in (typing.Union, types.UnionType):
        return st.one_of([st.none() if kind is type(None) else values_of(kind) for kind in parts])
    if shape is tuple:
        return st.lists(values_of(parts[0]), max_size=3).map(tuple)
    if shape is Annotated:
        return values_within(parts[0], parts[1])
    return st.booleans() if hint is bool else st.sampled_from(parts)


def values_within(kind: type, meta: msgspec.Meta) -> st.SearchStrategy[Any]:
    if kind is datetime:
        return st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    if kind is int:
        return st.integers(int(meta.ge or 0), int(meta.le or 999))
    if kind is float and meta.ge is None:
        return st.floats(allow_nan=False, allow_infinity=False)
    if kind is float:
        return st.integers(0, int(meta.le or 999_999) * 1_000_000).map(lambda millionths: millionths / 1_000_000)
    if meta.pattern is not None:
        return st.from_regex(meta.pattern, fullmatch=True).map(lambda text: text.rstrip("\n"))
    return st.text(TEXT, min_size=meta.min_length or 0, max_size=12)


TEXT = st.characters(exclude_categories=["Cs"])  # any character UTF-8 can write


@cache
def events_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    hints = get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{name: values_of(hint) for name, hint in hints.items() if name not in STAMPS})


ANY_EVENT = st.one_of([events_of(kind) for kind in EVENTS])


def line_of(event: Event, *, sequence: int = 1, prev: bytes = GENESIS) -> tuple[bytes, bytes]:
    return codec.stamped(codec.encode(event), source="homes/ab12cd34", sequence=sequence, recorded_at=AT, prev=prev)


def test_a_line_is_the_body_the_stamps_the_hash_and_the_check_sum() -> None:
    assert codec.encode(REVOKED) == BODY

    line, digest = line_of(REVOKED, sequence=41, prev=bytes(range(16)))

    hashed = BODY[:-1] + b',"source":"homes/ab12cd34","sequence":41,"recorded_at":"2025-10-03T08:15:02.123456Z"'
    expected = hashlib.sha256(bytes(range(16)) + hashed).digest()[:16]
    checked = hashed + b',"prev":"000102030405060708090a0b0c0d0e0f","hash":"' + expected.hex().encode() + b'"'
    assert digest == expected
    assert line == checked + b',"crc":"' + f"{zlib.crc32(checked):08x}".encode() + b'"}\n'
    assert list(json.loads(line))[-6:] == ["source", "sequence", "recorded_at", "prev", "hash", "crc"]


def test_recorded_at_is_written_in_utc_with_six_decimals_whatever_its_zone() -> None:
    berlin = datetime(2025, 10, 3, 10, 15, 2, tzinfo=timezone(timedelta(hours=2)))

    line, _ = codec.stamped(BODY, source="s", sequence=1, recorded_at=berlin, prev=GENESIS)

    assert b'"recorded_at":"2025-10-03T08:15:02.000000Z"' in line


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_a_line_whose_sums_hold_is_the_same_event_when_its_values_are_not_checked_again(
    kind: type[Event], data: st.DataObject
) -> None:
    line, _ = line_of(data.draw(events_of(kind)))

    found = trusted.decode(line)

    assert type(found) is kind
    assert found == codec.decode(line)
    assert codec.encode(found) == codec.encode(codec.decode(line))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"17",
        b"{}",
        b'{"type":"halfpenny.call.dreamt.v1"}',
        BODY.replace(b'"client_id"', b'"klient_id"'),
        BODY.replace(b'"subject":"hp_3f9c21ab",', b""),
        BODY.replace(b'"acme"', b"1"),
    ],
)
def test_what_is_no_event_is_no_event_for_whoever_trusts_sums_either(line: bytes) -> None:
    with pytest.raises(BadLine):
        trusted.decode(line)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=25)  # for each of the classes
@given(data=st.data())
def test_every_event_is_read_back_as_it_was_and_lined_again_to_the_same_bytes(
    kind: type[Event], data: st.DataObject
) -> None:
    event = data.draw(events_of(kind))
    line, digest = line_of(event, sequence=7, prev=bytes(range(16)))

    found = codec.read_line(line)

    bare = msgspec.structs.replace(found.event, **dict.fromkeys(STAMPS))
    assert (bare, found.hash) == (event, digest)
    assert (found.event.source, found.event.sequence, found.event.recorded_at) == ("homes/ab12cd34", 7, AT)
    assert (found.event.prev, found.event.hash) == (bytes(range(16)).hex(), digest.hex())
    assert codec.relined(found.event, bytes(range(16))) == (line, digest)
    assert None not in json.loads(line).values()
    assert line.count(b"\n") == 1


@given(ANY_EVENT, st.data())
def test_a_byte_changed_anywhere_is_a_bad_line(event: Event, data: st.DataObject) -> None:
    line, _ = line_of(event)
    at = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda found: found != line[at]))

    with pytest.raises(BadLine):
        codec.read_line(line[:at] + bytes([byte]) + line[at + 1 :])


def test_every_single_bit_of_a_line_is_guarded() -> None:
    line, _ = line_of(REVOKED)

    for at in range(len(line)):
        for bit in range(8):
            flipped = bytearray(line)
            flipped[at] ^= 1 << bit
            with pytest.raises(BadLine):
                codec.read_line(bytes(flipped))


@given(ANY_EVENT, st.data())
def test_a_line_cut_short_is_a_bad_line(event: Event, data: st.DataObject) -> None:
    line, _ = line_of(event)

    with pytest.raises(BadLine):
        codec.read_line(line[: data.draw(st.integers(0, len(line) - 2))])
    assert codec.read_line(line[:-1]).event.id == event.id  # the newline alone may be missing


def resummed(checked: bytes) -> bytes:
    return checked + b',"crc":"' + f"{zlib.crc32(checked):08x}".encode() + b'"}\n'


@pytest.mark.parametrize(
    ("checked", "why"),
    [
        (BODY[:-1], "it has no hash"),
        (BODY[:-1] + b',"prev":"' + b"0" * 32 + b'"', "it has no hash"),
        (BODY[:-1] + b',"prev":"' + b"0" * 32 + b'","hash":"' + b"0" * 32 + b'"', "its hash does not match"),
        (BODY[:-1] + b',"prev":"' + b"z" * 32 + b'","hash":"' + b"0" * 32 + b'"', "its prev is not a hash"),
        (BODY[:-1] + b',"prev":"' + b"\xff" * 32 + b'","hash":"' + b"0" * 32 + b'"', "its prev is not a hash"),
    ],
)
def test_a_line_edited_with_its_check_sum_made_again_is_still_bad(checked: bytes, why: str) -> None:
    """A prev that is not hex was once a bare ValueError, which no reader of files caught."""
    with pytest.raises(BadLine, match=why):
        codec.read_line(resummed(checked))


def test_an_event_edited_with_its_check_sum_made_again_does_not_match_its_hash() -> None:
    line, _ = line_of(REVOKED)
    checked = line.rpartition(b',"crc":"')[0].replace(b"acme", b"evil")

    with pytest.raises(BadLine, match="its hash does not match"):
        codec.read_line(resummed(checked))


def test_a_prev_written_in_another_case_is_a_bad_line() -> None:
    line, _ = line_of(REVOKED, prev=bytes.fromhex("ab" * 16))

    with pytest.raises(BadLine):
        codec.read_line(resummed(line.rpartition(b',"crc":"')[0].replace(b"ab" * 16, b"AB" * 16)))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "truncated"),
        (b"17", "Expected `object`"),
        (b"{}", "unknown event type None"),
        (b'{"type":"halfpenny.call.dreamt.v1"}', "unknown event type 'halfpenny.call.dreamt.v1'"),
        (b'{"type":[]}', r"unknown event type \[\]"),
        (b'{"type":' + b"[" * 100_000, "recursion"),
        (BODY.replace(b"acme", b"\xff\xfe"), "utf-8"),
        (BODY.replace(b'"client_id"', b'"klient_id"'), "unknown field `klient_id`"),
        (BODY.replace(b'"subject":"hp_3f9c21ab",', b""), "missing required field `subject`"),
        (BODY.replace(b"02.123456Z", b"02.123456"), "timezone"),
        (BODY.replace(b'"acme"', b'""'), "length >= 1"),
    ],
)
def test_what_is_no_event_is_a_bad_line(line: bytes, why: str) -> None:
    """A type that is a list, bytes that are no text and endless brackets each once escaped as another exception."""
    with pytest.raises(BadLine, match=why):
        codec.decode(line)


def cap(amount: str) -> bytes:
    return msgspec.json.encode(
        {
            "type": "halfpenny.budget.set.v1",
            "id": "e-1",
            "subject": "acme",
            "time": "2025-10-03T08:15:02Z",
            "scope": "client",
            "hard": True,
            "valid_from": "2025-10-01T00:00:00Z",
            "cap_usd": amount,
        }
    )


@pytest.mark.parametrize(
    "amount",
    ["1.50", "01", ".5", "1.", "1e3", "+1", "-0", "-0.0", "1000000", "0.0000000000001", "", " 1", "NaN", "1,5"],
)
def test_money_has_one_spelling_on_the_wire(amount: str) -> None:
    """-0 was once a second spelling of 0, which Parquet does not keep."""
    with pytest.raises(BadLine):
        codec.decode(cap(amount))


@pytest.mark.parametrize("amount", ["0", "300", "-0.5", "-300", "0.000000000001", "999999.999999999999", "10.05"])
def test_every_amount_that_decimal_18_12_holds_can_be_written(amount: str) -> None:
    event = codec.decode(cap(amount))

    assert isinstance(event, e.BudgetSet)
    assert event.cap_usd == amount


def test_a_float_is_no_money() -> None:
    with pytest.raises(BadLine):
        codec.decode(cap("300").replace(b'"300"', b"300"))


OLD = (
    b'{"type":"halfpenny.key.revoked.v0","event_id":"e-1","key":"hp_3f9c21ab","at":1759479302,'
    b'"source":"homes/ab12cd34","sequence":3}'
)


def from_v0(found: dict[str, Any]) -> dict[str, Any]:
    at = datetime.fromtimestamp(found["at"], UTC).isoformat()
    lifted = {"type": "halfpenny.key.revoked.v0b", "id": found["event_id"], "subject": found["key"], "time": at}
    return lifted | {name: found[name] for name in ("source", "sequence")}


def from_v0b(found: dict[str, Any]) -> dict[str, Any]:
    return found | {"type": "halfpenny.key.revoked.v1", "client_id": "acme"}


def test_an_old_version_is_lifted_one_version_at_a_time() -> None:
    upcasters = {"halfpenny.key.revoked.v0": from_v0, "halfpenny.key.revoked.v0b": from_v0b}

    # 1759479302 is 2025-10-03T08:15:02Z
    assert codec.upcast(OLD, upcasters=upcasters) == e.KeyRevoked(
        id="e-1",
        subject="hp_3f9c21ab",
        time=datetime(2025, 10, 3, 8, 15, 2, tzinfo=UTC),
        client_id="acme",
        source="homes/ab12cd34",
        sequence=3,
    )


def test_an_old_version_without_an_upcaster_or_with_one_that_does_not_lift_is_a_bad_line() -> None:
    with pytest.raises(BadLine, match=r"unknown event type 'halfpenny\.key\.revoked\.v0'"):
        codec.decode(OLD)
    with pytest.raises(BadLine, match="does not lift it"):
        codec.upcast(OLD, upcasters={"halfpenny.key.revoked.v0": lambda found: found})
    with pytest.raises(BadLine, match="missing required field"):
        codec.upcast(OLD, upcasters={"halfpenny.key.revoked.v0": lambda _: {"type": "halfpenny.key.revoked.v1"}})


def test_an_event_without_stamps_cannot_be_lined_again() -> None:
    with pytest.raises(BadLine, match="no source, sequence or recorded_at"):
        codec.relined(REVOKED, GENESIS)


def test_every_field_has_one_column_and_its_type_keeps_it_exactly() -> None:
    of_key = {column.key: column for column in columns()}
    fields = {field.encode_name for kind in EVENTS for field in msgspec.structs.fields(kind)}

    assert len(of_key) == len(columns())
    assert set(of_key) == {"type"} | fields - {"prev", "crc"}
    for key, column in of_key.items():
        assert column.name == ("event_id" if key == "id" else key)
        if key.endswith("_usd") or (key.startswith("rate_") and key != "rate_source") or key == "edit_usd_per_hour":
            assert column.sql == "DECIMAL(18,12)", key
        if key in ("time", "recorded_at", "reserved_at", "valid_from", "valid_to"):
            assert column.sql == "TIMESTAMPTZ", key
        if key.endswith("_tokens") or key in ("sequence", "attempt", "http_status", "revision"):
            assert column.sql == "BIGINT", key
    assert {of_key[key].sql for key in ("duration_s", "edit_seconds")} == {"DECIMAL(12,6)"}
    assert {of_key[key].sql for key in ("edit_ratio", "propensity", "value")} == {"DECIMAL(9,6)"}
    assert (of_key["lambda"].sql, of_key["request_stream"].sql) == ("DOUBLE", "BOOLEAN")
    assert (of_key["response_finish_reasons"].sql, of_key["reason"].sql) == ("VARCHAR[]", "VARCHAR")


def test_every_event_is_a_fact_of_its_own_in_a_current_version() -> None:
    tags = [str(kind.__struct_config__.tag) for kind in EVENTS]

    assert len(set(tags)) == len(tags)
    assert all(tag.startswith("halfpenny.") and tag.endswith(".v1") for tag in tags)
    assert list(codec.CURRENT) == tags
    assert not set(codec.UPCASTERS) & set(tags)
    assert all(kind.__struct_config__.frozen for kind in EVENTS)
