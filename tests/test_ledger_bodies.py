"""What is accepted at a look is what reads back: the two ways to check an event never differ, in what they refuse or in why."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import bodies, codec
from ledger.acceptance import acceptance_of
from ledger.bodies import LIMIT_BYTES, Unsealable
from ledger.events import EVENTS, STAMPS, Event
from tests.written_homes import settled

NOW = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)
# One of these fits each pattern that an event's text may have.
TEXTS = ("0.5", "2026-11", "EUR", "2026-11-01", "0" * 32, "0" * 64, "0" * 128, "UTC")
ODD: tuple[object, ...] = (
    None, "", "x", "x" * 256, "x" * 257, "é" * 256, "x" * 2001, "\ud800", "a\nb", 'a"b', "0", "-0", "-0.5", "0.10", "1\n",
    "999999.999999999999", "1000000", "0.0000000000001", "2026-13", "2026-11\n", "0" * 64 + "\n", "generation", "ok",
    0, 1, -1, 999, 1000, 2**53, 2**53 + 1, 2**70, True, False, 0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 1e-7, 0.1234567, 999_999.5, 1e6,
    1e300, float("nan"), float("inf"), -float("inf"), Decimal("0.5"), NOW, NOW.replace(tzinfo=None),
    NOW.astimezone(timezone(timedelta(hours=2))), NOW.astimezone(timezone(timedelta(0), "Z")), "2026-11-26T12:00:00Z",
    (), ("x",), ("x", "y"), ("",), ("x" * 257,), (1,), ["x"], {"x": 1}, b"x", object(), msgspec.Raw(b"1 "), msgspec.Raw(b"1"),
)  # fmt: skip


def usual(hint: Any) -> Any:
    """A value of a field's type."""
    if type(None) in get_args(hint) and get_origin(hint) is not Annotated:
        hint = get_args(hint)[0]
    base, metas = (get_args(hint)[0], get_args(hint)[1:]) if get_origin(hint) is Annotated else (hint, ())
    if base is str:
        pattern = next((meta.pattern for meta in metas if meta.pattern is not None), "")
        return next(text for text in TEXTS if re.search(pattern, text))
    if get_origin(base) is Literal:
        return get_args(base)[0]
    if get_origin(base) is tuple:
        return (usual(get_args(base)[0]),)
    return {int: 1, float: 0.5, bool: True, datetime: NOW}[base]


def usual_fields(kind: type[Event]) -> dict[str, Any]:
    return {name: usual(hint) for name, hint in get_type_hints(kind, include_extras=True).items() if name not in STAMPS}


def fields_of(kind: type[Event]) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(kind))


def read_back(event: Event) -> bytes:
    """An event checked the long way alone."""
    try:
        body = codec.encode(event)
    except (UnicodeEncodeError, TypeError) as refused:
        raise Unsealable(event, str(refused)) from None
    if len(body) > LIMIT_BYTES:
        raise Unsealable(event, f"it has {len(body)} bytes, more than {LIMIT_BYTES}")
    bodies.check_read_back(event, body)
    return body


def said(check: Callable[[Event], bytes], event: Event) -> bytes | str:
    try:
        return check(event)
    except (Unsealable, AttributeError, TypeError) as refused:
        return f"{type(refused).__name__}: {refused}"


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_an_event_with_usual_values_is_accepted_at_a_look(kind: type[Event]) -> None:
    accepts = acceptance_of(kind, bodies.rounded(kind))
    whole = usual_fields(kind)
    required = {field.name for field in msgspec.structs.fields(kind) if field.required}

    assert accepts(kind(**whole))
    assert accepts(kind(**{name: value for name, value in whole.items() if name in required}))


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_odd_value_of_every_field_is_judged_as_by_reading_back(kind: type[Event]) -> None:
    whole = usual_fields(kind)
    for name in fields_of(kind):
        for odd in ODD:
            event = kind(**{**whole, name: odd})
            assert said(bodies.checked, event) == said(read_back, event), (name, odd)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_several_odd_values_are_judged_as_by_reading_back(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(EVENTS))
    changed = data.draw(st.dictionaries(st.sampled_from(fields_of(kind)), st.sampled_from(ODD), max_size=4))
    event = kind(**{**usual_fields(kind), **changed})

    assert said(bodies.checked, event) == said(read_back, event)


def test_a_kind_of_event_that_the_ledger_does_not_have_is_refused() -> None:
    class Foreign(Event, frozen=True, kw_only=True, tag="halfpenny.foreign.v1"):
        pass

    with pytest.raises(Unsealable, match="unknown event type"):
        bodies.checked(Foreign(id="i", subject="s", time=NOW))
    assert bodies.checked(settled(1))
