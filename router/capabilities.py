"""What a provider takes of OpenAI's chat contract, by the host of its address.

| host | the bound's name | `stream_options.include_usage` | usage unasked | `metadata` |
|---|---|---|---|---|
| openai.com | `max_completion_tokens` | yes | no | yes |
| mistral.ai | `max_tokens` | no | yes | yes |
| deepseek.com | `max_tokens` | yes | not known | not known |
| groq.com | `max_completion_tokens` | yes | not known | no |
| openrouter.ai | `max_completion_tokens` | yes, without effect | yes | yes |
| together.ai, together.xyz | `max_tokens` | not known | not known | not known |

What is not known counts as in OpenAI's contract. Of any other host nothing is known: a bound keeps the name the client gave it, since
a name that a provider ignores bounds nothing. vLLM, which has no host of its own, takes both names and `include_usage`.

Sources, read in November 2026. OpenAI: API reference of chat completions; its models that reason answer 400 to `max_tokens`
(github.com/devnullvoid/dms-ai-assistant/issues/12). Mistral: 422 `extra_forbidden` for `stream_options.include_usage`
(github.com/openai/openai-agents-python/issues/442) and for `max_completion_tokens` (github.com/editor-code-assistant/eca/issues/315); usage
in a stream's last chunk since the release note of 2024-01-16; `max_tokens` and `metadata` in its client (mistralai/client-python,
chatcompletionstreamrequest.py). DeepSeek: `max_completion_tokens` is ignored without a word, `max_tokens` heeded
(github.com/earendil-works/pi/issues/8018); `include_usage` in docs.rs/crate/ds-api. Groq: groq/groq-python of 2026-08-18,
completion_create_params.py and chat_completion_chunk.py; 400 for `metadata` (github.com/skye-harris/hass_local_openai_llm/issues/59); it
refused `stream_options` in 2024 (github.com/vercel/ai/pull/1578). OpenRouter: openrouter.ai/docs/use-cases/usage-accounting, and its
OpenAPI description. Together: togethercomputer/together-py, completion_create_params.py, which names `max_tokens` alone. vLLM: entrypoints/openai/protocol.py.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

OutputBound = Literal["max_tokens", "max_completion_tokens"]
OTHER_BOUND: dict[OutputBound, OutputBound] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}


class Capabilities(NamedTuple):
    """What goes to a provider and what does not. Shapes: `output_bound` None: not known, the client's own names stay."""

    output_bound: OutputBound | None = None
    takes_stream_usage: bool = True
    sends_usage_unasked: bool = False
    takes_metadata: bool = True

    @property
    def asks_stream_usage(self) -> bool:
        """Whether a stream has to be asked for its usage, and can be."""
        return self.takes_stream_usage and not self.sends_usage_unasked

    @property
    def imposed_bound(self) -> OutputBound:
        """The name of a bound that the gateway imposes."""
        return self.output_bound or "max_completion_tokens"


UNKNOWN = Capabilities()
BY_HOST: dict[str, Capabilities] = {
    "openai.com": Capabilities("max_completion_tokens"),
    "mistral.ai": Capabilities("max_tokens", takes_stream_usage=False, sends_usage_unasked=True),
    "deepseek.com": Capabilities("max_tokens"),
    "groq.com": Capabilities("max_completion_tokens", takes_metadata=False),
    "openrouter.ai": Capabilities("max_completion_tokens", sends_usage_unasked=True),
    "together.ai": Capabilities("max_tokens"),
    "together.xyz": Capabilities("max_tokens"),
}


def capabilities(
    base_url: str,
    *,
    output_bound: OutputBound | None = None,
    asks_stream_usage: bool | None = None,
    takes_metadata: bool | None = None,
) -> Capabilities:
    """What the provider at an address takes. Shapes: what is given stands against the table; None leaves it as it says."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    found = next((takes for name, takes in BY_HOST.items() if host == name or host.endswith(f".{name}")), UNKNOWN)
    if output_bound is not None:
        found = found._replace(output_bound=output_bound)
    if asks_stream_usage is not None:
        unasked = found.sends_usage_unasked and not asks_stream_usage
        found = found._replace(takes_stream_usage=asks_stream_usage, sends_usage_unasked=unasked)
    if takes_metadata is not None:
        found = found._replace(takes_metadata=takes_metadata)
    return found


_REFUSING = re.compile(
    rb"extra_forbidden|not permitted|unsupported|not supported|not support|unknown|unrecognized|unexpected|not allowed",
    re.IGNORECASE,
)
_NAMED = re.compile(rb"\b(?:max_completion_tokens|max_tokens|stream_options|metadata)\b")
_READ_BYTES = 10_000  # of a refusal


def advice(status: int, refusal: bytes, body: bytes) -> str | None:
    """Which setting to change, when a provider refuses a field it does not know; None for any other refusal.

    Shapes: `body` is the JSON object that was sent. The first of its fields that the refusal names is the one meant: OpenAI's
    goes on with the name it would take.
    """
    said = refusal[:_READ_BYTES]
    if status not in (400, 422) or _REFUSING.search(said) is None:
        return None
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    named = next((name for found in _NAMED.finditer(said) if (name := found[0].decode()) in fields), None)
    match named:
        case "max_tokens" | "max_completion_tokens":
            setting = f'output_bound = "{OTHER_BOUND[named]}"'
        case "stream_options":
            setting = "asks_stream_usage = false"
        case "metadata":
            setting = "takes_metadata = false"
        case _:
            return None
    return f"It does not take {named}: set provider.{setting} in halfpenny.toml and start again."
