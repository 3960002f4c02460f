"""Lines whose sums hold, decoded without checking every value again.

What a line's check sum and the chain's hash cover was checked when it was submitted (bodies.py), and three quarters
of decoding are the patterns of its money and hashes. So a start, which has just compared both sums, reads types and
leaves out patterns and bounds. Sealing and `verify` decode strictly all the same: somebody who rewrites a line
with sums that hold is found there, and by the signed heads, not by a start.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from ledger import codec
from ledger.events import EVENTS, Event


def _plain(hint: Any) -> Any:
    """A type without its bounds, inside and out."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _plain(inner[0])
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_plain, inner))]  # noqa: UP007
    return tuple[_plain(inner[0]), ...] if origin is tuple else hint  # type: ignore[misc]


def _twin(kind: type[Event]) -> type[msgspec.Struct]:
    """The same event without bounds; a subclass that adds nothing, so that what it reads can be of the class itself."""
    hints = get_type_hints(kind, include_extras=True)
    fields = [
        (field.name, _plain(hints[field.name]))
        if field.required
        else (field.name, _plain(hints[field.name]), field.default)
        for field in msgspec.structs.fields(kind)
    ]
    return msgspec.defstruct(
        kind.__name__,
        fields,
        bases=(kind,),
        tag=str(kind.__struct_config__.tag),
        tag_field="type",
        frozen=True,
        kw_only=True,
    )


_KINDS = {_twin(kind): kind for kind in EVENTS}
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[tuple(_KINDS)])  # noqa: UP007
# `event.__class__ = kind`, which a frozen class does not let itself be told.
_become = object.__dict__["__class__"].__set__


def decode(line: bytes) -> Event:
    """The event of a line whose sums were compared, in its current version.

    Errors: BadLine for JSON that is no known event.
    """
    try:
        event: Event = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refused:
        return codec.upcast(line, str(refused))
    _become(event, _KINDS[type(event)])
    return event
