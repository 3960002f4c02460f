"""The settings of who answers: [provider], and [fallback] for when that one fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from ledger.errors import InvalidInput
from router.capabilities import Capabilities, OutputBound, capabilities

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Model = Annotated[str, Meta(min_length=1, max_length=256)]


class BadConfig(InvalidInput):
    """A configuration that cannot be taken; one sentence, nothing was written."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; a key it does not name is refused."""


class Provider(Section, frozen=True, kw_only=True):
    """Who answers. Units: seconds.

    `bills_errors` false: a 5xx answer is proof that nothing was billed, as OpenAI-compatible providers do it.
    `picture_tokens`: what a hold counts for each picture, whose tokens no provider tells beforehand.
    `served_names`: other names under which the provider answers for a priced model. `total_timeout_s` bounds a call with all
    its attempts. `breaker_failures` in a row shut a client out for `breaker_open_s`; 0 never does. `private_addresses`
    lets a name lead into private networks, which otherwise only a `base_url` with the address itself does.
    `trickle_bytes` in `trickle_s` is the least of a whole reply, or of one event of a stream, once it has begun; 0 bytes: any.
    `asks_stream_usage`, `output_bound` and `takes_metadata`, when absent, are as `capabilities.py` has them for the host.
    """

    name: Model = "global_api"
    base_url: str = "https://global-apis.com/v1"
    key_env: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "GLOBAL_API_KEY"
    bills_errors: bool = False
    asks_stream_usage: bool | None = None
    output_bound: OutputBound | None = None
    takes_metadata: bool | None = None
    connect_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 120.0
    total_timeout_s: Seconds = 600.0
    trickle_s: Seconds = 30.0
    trickle_bytes: Annotated[int, Meta(ge=0)] = 1024
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    retry_base_s: Seconds = 0.25
    retry_after_at_most_s: Seconds = 5.0
    breaker_failures: Annotated[int, Meta(ge=0)] = 10
    breaker_open_s: Seconds = 5.0
    private_addresses: bool = False
    keepalive_s: Seconds = 4.0  # below uvicorn's 5 s, so that a connection is not reused just as it closes
    max_reply_bytes: Positive = 32 * 2**20
    picture_tokens: Positive = 40_000
    served_names: Mapping[str, Model] = msgspec.field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        """What goes to it: by its host, and as the keys here say."""
        return capabilities(
            self.base_url,
            output_bound=self.output_bound,
            asks_stream_usage=self.asks_stream_usage,
            takes_metadata=self.takes_metadata,
        )


class Substitute(Provider, frozen=True, kw_only=True):
    """Who answers in another's place when that one fails: a model for a model, at the same provider or at a second one.

    Shapes: `models` asked model -> the one that answers for it. Without a `base_url` both are at `provider` and no other key is
    said; with one the keys are those of a provider, its key in a variable of its own.
    """

    name: Model = "fallback"
    base_url: str = ""
    key_env: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "FALLBACK_API_KEY"
    models: Mapping[Model, Model] = msgspec.field(default_factory=dict)


def check_providers(first: Provider, second: Substitute, name: str) -> None:
    """Errors: BadConfig for what cannot work, naming the file."""
    _check_url(first.base_url, "provider", name)
    if own := [model for model, instead in second.models.items() if model == instead]:
        raise BadConfig(f"{name}: fallback.models has {own[0]!r} answer in its own place. Name another model for it.")
    if not second.base_url:
        said = [key for key in Provider.__struct_fields__ if getattr(second, key) != getattr(Substitute(), key)]
        if said:
            raise BadConfig(
                f"{name}: fallback.{said[0]} says something of a second provider, and fallback.base_url names none. "
                "Set fallback.base_url, or remove the key; without it the models are those of [provider]."
            )
        return
    _check_url(second.base_url, "fallback", name)
    if not second.models:
        raise BadConfig(
            f"{name}: fallback.base_url is set and fallback.models is empty. Say which model answers for which."
        )
    for key in ("name", "key_env"):
        if getattr(second, key) == getattr(first, key):
            raise BadConfig(
                f"{name}: fallback.{key} is {getattr(second, key)!r}, as provider.{key} is. Give the second provider one of its own."
            )


def _check_url(url: str, section: str, name: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
        _ = parts.port
    except ValueError:
        is_usable = False
    if not is_usable:
        raise BadConfig(
            f"{name}: {section}.base_url {url!r} is not an http or https address without a user name. "
            "Write it like https://global-apis.com/v1."
        )
