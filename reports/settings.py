"""What the section [reports] of halfpenny.toml may say."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ledger.errors import InvalidInput
from ledger.home import Home


class Mail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The server that takes our mail. The password stands in the environment alone, under the name `password_env`."""

    host: Annotated[str, Meta(min_length=1)]
    sender: Annotated[str, Meta(pattern=r"^[^@\s<>\",;]+@[^@\s<>\",;]+$")]
    port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_env: str = "HALFPENNY_SMTP_PASSWORD"  # noqa: S105 - a name


class Recipients(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who gets a client's reports: mail addresses, one webhook. `drafts`: also reports that are not final."""

    mail_to: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^@\s<>\",;]+@[^@\s<>\",;]+$")], ...], Meta(max_length=20)
    ] = ()
    webhook_url: Annotated[str, Meta(pattern=r"^$|^https://|^http://(127\.0\.0\.1|localhost)[:/]")] = ""
    webhook_secret_env: str = "HALFPENNY_WEBHOOK_SECRET"  # noqa: S105 - a name
    drafts: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`prepared_by` stands in the header of every report; empty leaves it out.

    `language` is that of every client whose id is not in `languages`; `logo` a .png or .svg file in the home; `accent` and
    `colours` (of the arms, in their order) like #1f6f8b.
    `final_day`: on this day of the following month, in the client's zone, a month is closed even if no invoice was
    reconciled; without one only an invoice that agrees, or `halfpenny close`, closes it.
    `mail` is the server, `delivery` says by client id who gets its reports.
    """

    prepared_by: str = ""
    language: Literal["en", "de"] = "en"
    languages: dict[str, Literal["en", "de"]] = {}
    logo: str = ""
    accent: Annotated[str, Meta(pattern=r"^(#[0-9a-fA-F]{6})?$")] = ""
    colours: Annotated[tuple[Annotated[str, Meta(pattern=r"^#[0-9a-fA-F]{6}$")], ...], Meta(max_length=5)] = ()
    final_day: Annotated[int, Meta(ge=1, le=28)] | None = None
    mail: Mail | None = None
    delivery: dict[str, Recipients] = {}

    def language_of(self, client_id: str) -> str:
        """The language of a client's reports."""
        return self.languages.get(client_id, self.language)


def read_settings(section: Mapping[str, Any]) -> Settings:
    """The settings of this section. Errors: InvalidInput naming the key."""
    try:
        return msgspec.convert(dict(section), Settings)
    except msgspec.ValidationError as refused:
        raise InvalidInput(
            f"[reports] in halfpenny.toml: {refused}. It may have: {', '.join(Settings.__struct_fields__)}."
        ) from None


def of_home(home: Home) -> Settings:
    """The settings in the configuration a home is used with. Errors: InvalidInput."""
    try:
        return read_settings(tomllib.loads(home.config.read_text(encoding="utf-8")).get("reports", {}))
    except FileNotFoundError:
        raise InvalidInput(
            f"{home.config} does not exist. Name the configuration that the service runs with."
        ) from None
    except tomllib.TOMLDecodeError as refused:
        raise InvalidInput(f"{home.config} is not TOML: {refused}.") from None
