"""What a simulated model answers, how long the answer is and how fast it comes.

Everything here is a function of (seed, content of the request, model): two runs with one seed give the same bytes,
whatever the order of the calls. The content is the roles and texts of the messages and the tools, so a streamed and
an unstreamed call, or two limits on the length, see the same reply.

Tokens are counted by one rule, for requests and replies alike: a text has ceil(UTF-8 bytes / 4) tokens; a message
adds 4, a request 3, and whatever else is sent (tools, response format, pictures) ceil(bytes / 4). A JSON message has
at least 28 bytes around its text, so the count can never exceed the bytes of the request body.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

from router.reply_prose import opening, prose
from router.seeded import digest, lognormal, lognormal_with_mean, pick, slot, unit

TicketTruth = Literal["simple", "complex"]
FinishReason = Literal["stop", "length"]

# A chat completion whose first system message starts with this line asks for a ticket's class, not for a reply.
CLASSIFICATION_MARKER = "You sort support tickets."

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_REQUEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedModel:
    """A model the provider serves. Units: context in tokens, median_s seconds from request to last byte."""

    name: str
    context_tokens: int
    median_s: float
    length_factor: float
    # The name a reply bears, and is billed under, when the fault wrong_model strikes.
    impostor: str


_LARGE, _MEDIUM = "mistralai/Mistral-Large-3", "mistralai/Mistral-Medium-3"
# Contexts: DESIGN section 5. Medians of the Mistral models: the freelancer's 1.1 and 1.4 s; the others are estimates.
_MODELS = (
    ("deepseek-ai/DeepSeek-V4-Flash", 128_000, 0.35, 0.90, _MEDIUM),
    ("deepseek-ai/DeepSeek-V4-Pro", 200_000, 1.60, 1.10, "deepseek-ai/DeepSeek-V4-Flash"),
    ("Qwen/Qwen3-32B", 32_000, 0.80, 0.95, "deepseek-ai/DeepSeek-V4-Flash"),
    ("zai-org/GLM-4-Plus", 128_000, 0.90, 0.95, "deepseek-ai/DeepSeek-V4-Flash"),
    ("openai/gpt-4o", 128_000, 1.50, 0.92, "deepseek-ai/DeepSeek-V4-Pro"),
    ("gpt-4o", 128_000, 1.50, 0.92, "deepseek-ai/DeepSeek-V4-Pro"),
    (_MEDIUM, 131_000, 1.10, 1.00, _LARGE),
    (_LARGE, 262_000, 1.40, 1.06, _MEDIUM),
)
MODELS = {
    name: SimulatedModel(name=name, context_tokens=context, median_s=median, length_factor=factor, impostor=impostor)
    for name, context, median, factor, impostor in _MODELS
}

# Reply length by the ticket's true class, for a prompt of 24,000 tokens. Chosen so that a month split by the simulated
# classifier comes to 4,300 tokens a ticket; shorter prompts get shorter replies, by the fourth root.
_REPLY_TOKENS = {"simple": 3_810.0, "complex": 5_200.0}
_REPLY_SIGMA = 0.32
_USUAL_PROMPT_TOKENS = 24_000
_DURATION_SIGMA = 0.30

# Cache: a system message of at least 1,024 tokens is found in the provider's cache by this share of requests, in full
# or in part, and is counted in steps of 128 tokens (both figures: OpenAI's rule).
CACHE_SHARE = 0.60
CACHE_MINIMUM_TOKENS = 1_024
CACHE_STEP_TOKENS = 128

# The classifier: this share of answers is neither class; of the rest, this share is wrong, both ways alike.
ODD_SHARE = 0.015
WRONG_SHARE = 0.06
_ODD_ANSWERS = ("It depends on the account.", "unclear", "medium")
# Upper bounds of the draw that picks the wording.
_WORDINGS = ((0.88, "{word}"), (0.93, "{Word}."), (0.97, "This ticket is {word}."), (1.0, "**{word}**"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request as the simulation sees it.

    Shapes: messages are (role, text) in order; extra is everything else that is billed as input, as sent.
    """

    model: SimulatedModel
    messages: tuple[tuple[str, str], ...]
    extra: bytes = b""
    max_tokens: int | None = None
    n: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One choice. Units: tokens by the rule of this module, over exactly this text."""

    text: str
    tokens: int
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All a request leads to. Units: tokens are counts (cached ones lie within the prompt's), times seconds."""

    content_id: str
    prompt_tokens: int
    cached_tokens: int
    replies: tuple[Reply, ...]
    duration_s: float
    first_chunk_s: float

    @property
    def completion_tokens(self) -> int:
        """The tokens of all choices together."""
        return sum(reply.tokens for reply in self.replies)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """A share of requests that a fault strikes. Shapes: share 0..1; model None means every model."""

    fault: str
    share: float
    model: str | None = None


def text_tokens(text: str) -> int:
    """The tokens of a text: a quarter of its UTF-8 bytes, rounded up."""
    size = len(text) if text.isascii() else len(text.encode())
    return -(-size // BYTES_PER_TOKEN)


def true_class(seed: int, ticket_text: str) -> TicketTruth:
    """Whether a ticket really is complex, which nobody in the simulated world can see.

    The probability is logistic in the length and in the number of questions beyond the first; a hash of the text
    decides. About 32 % of the shipped sample are complex. Outer white space does not count.
    """
    text = ticket_text.strip()
    excess_questions = min(max(text.count("?") - 1, 0), 3)
    score = -0.80 + 1.4 * (min(len(text), 400) - 55) / 40 + 1.2 * excess_questions
    return "complex" if unit("truth", seed, text) < 1 / (1 + math.exp(-score)) else "simple"


def content_id(prompt: Prompt) -> tuple[str, int]:
    """A name for the request's content, and its tokens; one pass over the bytes for both.

    Shapes: 64 hex digits. The model and the limits on the reply are not part of it.
    """
    hashed = hashlib.sha256(usedforsecurity=False)
    tokens = TOKENS_PER_REQUEST - (-len(prompt.extra) // BYTES_PER_TOKEN)
    for role, text in prompt.messages:
        data = text.encode()
        hashed.update(f"{role}\0{len(data)}\0".encode())
        hashed.update(data)
        tokens += TOKENS_PER_MESSAGE - (-len(data) // BYTES_PER_TOKEN)
    hashed.update(prompt.extra)
    return hashed.hexdigest(), tokens


def simulate(seed: int, prompt: Prompt) -> Answer:
    """What this model answers to this request, under this seed."""
    name, prompt_tokens = content_id(prompt)
    material = digest("answer", seed, name, prompt.model.name)
    ticket = next((text for role, text in reversed(prompt.messages) if role == "user"), "")
    # Room left in the context bounds the reply as the caller's own limit does.
    limit = max(prompt.model.context_tokens - prompt_tokens, 0)
    if prompt.max_tokens is not None:
        limit = min(limit, prompt.max_tokens)
    replies = tuple(
        _limited(
            _reply_text(seed, prompt, ticket, digest("reply", seed, name, prompt.model.name, index), prompt_tokens),
            limit,
        )
        for index in range(prompt.n)
    )
    duration = lognormal(slot(material, 0), median=prompt.model.median_s, sigma=_DURATION_SIGMA)
    return Answer(
        content_id=name,
        prompt_tokens=prompt_tokens,
        cached_tokens=_cached_tokens(prompt, material),
        replies=replies,
        duration_s=round(duration, 6),
        first_chunk_s=round(duration * (0.18 + 0.24 * slot(material, 1)), 6),
    )


def fault_for(rules: tuple[FaultRule, ...], seed: int, content: str, model: str, attempt: int) -> str | None:
    """The configured fault that strikes this attempt, if any.

    Shapes: rules are read in order and their shares add up; attempt counts from 1, so a retry may go better than the
    first try did. The draw does not depend on arrival.
    """
    draw = unit("fault", seed, content, model, attempt)
    for rule in rules:
        if rule.model is None or rule.model == model:
            draw -= rule.share
            if draw < 0:
                return rule.fault
    return None


def chunks(text: bytes, words: int) -> list[bytes]:
    """The text in pieces of so many words; joined they are the text again."""
    parts = text.split(b" ")
    pieces = [b" ".join(parts[i : i + words]) for i in range(0, len(parts), words)]
    return [pieces[0], *(b" " + piece for piece in pieces[1:])] if text else []


def _reply_text(seed: int, prompt: Prompt, ticket: str, material: bytes, prompt_tokens: int) -> str:
    role, text = prompt.messages[0]
    truth = true_class(seed, ticket)
    if role in ("system", "developer") and text.startswith(CLASSIFICATION_MARKER):
        return _class_answer(truth, material)
    wanted = lognormal_with_mean(slot(material, 0), mean=_REPLY_TOKENS[truth], sigma=_REPLY_SIGMA)
    wanted *= prompt.model.length_factor * (prompt_tokens / _USUAL_PROMPT_TOKENS) ** 0.25
    beginning = opening(seed, ticket)
    return beginning + prose(seed).passage(slot(material, 1), int(BYTES_PER_TOKEN * wanted) - len(beginning))


def _class_answer(truth: TicketTruth, material: bytes) -> str:
    if slot(material, 2) < ODD_SHARE:
        return _ODD_ANSWERS[pick(slot(material, 3), len(_ODD_ANSWERS))]
    word: str = truth
    if slot(material, 4) < WRONG_SHARE:
        word = "simple" if truth == "complex" else "complex"
    draw = slot(material, 5)
    wording = next(wording for bound, wording in _WORDINGS if draw < bound)
    return wording.format(word=word, Word=word.capitalize())


def _limited(text: str, limit: int) -> Reply:
    tokens = text_tokens(text)
    if tokens <= limit:
        return Reply(text=text, tokens=tokens, finish_reason="stop")
    # A quotation from the ticket may hold characters of several bytes; one that would be torn is left out.
    text = text.encode()[: limit * BYTES_PER_TOKEN].decode(errors="ignore")
    return Reply(text=text, tokens=text_tokens(text), finish_reason="length")


def _cached_tokens(prompt: Prompt, material: bytes) -> int:
    role, text = prompt.messages[0]
    prefix = TOKENS_PER_MESSAGE + text_tokens(text)
    if role not in ("system", "developer") or prefix < CACHE_MINIMUM_TOKENS:
        return 0
    if slot(material, 2) >= CACHE_SHARE:
        return 0
    found = max(prefix * (0.3 + 0.7 * slot(material, 3)), CACHE_MINIMUM_TOKENS)
    return int(found) // CACHE_STEP_TOKENS * CACHE_STEP_TOKENS
