"""What the section [reports] of halfpenny.toml may say."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from ledger.errors import InvalidInput
from ledger.home import Home


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`prepared_by` stands in the header of every report; empty leaves it out."""

    prepared_by: str = ""


def read_settings(section: Mapping[str, Any]) -> Settings:
    """The settings of this section. Errors: InvalidInput naming the key."""
    try:
        return msgspec.convert(dict(section), Settings)
    except msgspec.ValidationError as refused:
        raise InvalidInput(
            f"[reports] in halfpenny.toml: {refused}. It may have: {', '.join(Settings.__struct_fields__)}."
        ) from None


def of_home(home: Home) -> Settings:
    """The settings in a home's own configuration. Errors: InvalidInput."""
    try:
        return read_settings(tomllib.loads(home.config.read_text(encoding="utf-8")).get("reports", {}))
    except tomllib.TOMLDecodeError as refused:
        raise InvalidInput(f"{home.config} is not TOML: {refused}.") from None
