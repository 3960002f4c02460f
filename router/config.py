"""halfpenny.toml and the environment, read once into a frozen Config.

A key nobody knows is refused, so a misspelt limit never goes unnoticed. Every key has a
default that is right for one machine. `HALFPENNY_<SECTION>_<KEY>` in the environment wins over the
file; the provider's key itself stands only in the environment, under the name `provider.key_env`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from ledger.events import TicketClass
from ledger.routing import PolicyName
from router.aggregates import PolicyMisconfigured
from router.provider_config import BadConfig, Model, Positive, Provider, Seconds, Section, Substitute, check_providers
from router.standing import Terms, config_of

Share = Annotated[float, Meta(ge=0, le=1)]

HostName = Annotated[str, Meta(pattern=r"^([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])$")]
ArmName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]

ENVIRONMENT_PREFIX = "HALFPENNY"
# Two names for two models, in this order; which one is dearer is measured, never assumed.
DEFAULT_ARMS: Mapping[str, str] = {"standard": "mistralai/Mistral-Medium-3", "premium": "mistralai/Mistral-Large-3"}
Fallback = Literal["none", "queue", "human"]  # who answers when no arm fits; a cheaper arm that does is none


class Server(Section, frozen=True, kw_only=True):
    """The port and its limits. Units: bytes, seconds, calls.

    `hosts` are the names it answers to, without a port; a request for another Host gets 421. Empty: it answers to all.
    `clock` "request" takes a call's moment from x-halfpenny-time (RFC 3339), so that a past month can be replayed;
    `trust_simulated_durations` takes durations from the simulator's headers. Both are for the demo and tests.
    """

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    hosts: tuple[HostName, ...] = ()
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8484
    clock: Literal["wall", "request"] = "wall"
    max_body_bytes: Positive = 4 * 2**20
    max_in_flight: Positive = 1024
    client_stall_s: Seconds = 30.0
    drain_s: Seconds = 30.0
    forward_simulate_headers: bool = False
    trust_simulated_durations: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def answers_to(self) -> frozenset[str]:
        """Every name in small letters, and what it was told to listen at, where commands ask; none when it answers to all."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return frozenset(name.lower() for name in (*self.hosts, own)) if self.hosts else frozenset()


class Classifier(Section, frozen=True, kw_only=True):
    """The cheap call that sorts a ticket. Units: characters of the ticket it sees, tokens it may write.

    `shadow_share` of the tickets, 0..1, are sorted a second time by `shadow_model`, beside the ticket and charged, so that a
    classifier that drifts is seen.
    """

    model: Model = "deepseek-ai/DeepSeek-V4-Flash"
    text_characters: Positive = 8_000
    max_completion_tokens: Positive = 16
    shadow_model: str = ""
    shadow_share: Share = 0.0


class OutputTokens(Section, frozen=True, kw_only=True):
    """The reply's bound that the gateway imposes when a request states none. Units: tokens.

    Under a hard cap with little room left the bound is what replies of that kind had, with a margin; `cold_start` stands for it while
    too few are known, and `cold_least` for what it may be lowered to before a call is refused.
    """

    default: Positive = 8_192
    cold_start: Positive = 4_096
    cold_least: Positive = 1_024
    models: Mapping[str, Positive] = msgspec.field(default_factory=dict)

    def of(self, model: str) -> int:
        """The bound imposed on a model."""
        return self.models.get(model, self.default)


class Policy(Section, frozen=True, kw_only=True):
    """How an arm is chosen for clients that were set no policy of their own, and who answers when none fits.

    Shapes: `class_arms` class -> arm; `shares` arm -> share, for policy fixed, in whose place `standard_share` gives the
    simple class's arm its share and the complex one's the rest. Units: rates and shares 0..1, edit minutes.
    """

    name: PolicyName = "paced"
    standard_share: Share = 0.65
    shares: Mapping[str, Share] = msgspec.field(default_factory=dict)
    class_arms: Mapping[TicketClass, str] = msgspec.field(
        default_factory=lambda: {"simple": "standard", "complex": "premium"}
    )
    seed: str = ""
    explore: Annotated[float, Meta(ge=0, lt=1)] = 0.005
    target_edit_rate: Share | None = None
    minutes_per_quality: Annotated[float, Meta(gt=0)] | None = None
    tickets_per_month: Annotated[int, Meta(ge=0)] = 0
    second_look: bool = False
    fallback: Fallback = "none"
    fallback_text: str = "Thank you for your message. A member of our team will answer you."


class Budget(Section, frozen=True, kw_only=True):
    """How long a call waits, in order, for holds to come free before it is refused; when caps are warned about.

    Units: seconds; `warn_at` are shares of a cap, hard or soft. `webhook_url` is told of each warning, signed with the secret
    that stands in the environment as `webhook_secret_env`. `url` names a Redis or Valkey over which `gateways` of
    them, each with a home of its own, share every cap; a hold it does not grant in `timeout_s` is refused.
    """

    wait_s: Annotated[float, Meta(ge=0, le=60)] = 20.0
    warn_at: tuple[Annotated[float, Meta(gt=0, le=1)], ...] = (0.8, 1.0)
    webhook_url: Annotated[str, Meta(pattern=r"^$|^https://|^http://(127\.0\.0\.1|localhost)[:/]")] = ""
    webhook_secret_env: str = "HALFPENNY_WEBHOOK_SECRET"  # noqa: S105 - a name
    url: str = ""
    gateways: Annotated[int, Meta(ge=1, le=1000)] = 2
    timeout_s: Annotated[float, Meta(gt=0, le=1)] = 0.5


class ClientCache(Section, frozen=True, kw_only=True):
    """One client's own limits; what it leaves out is as for all. Units: seconds, bytes as stored."""

    ttl_s: Annotated[float, Meta(ge=0)] | None = None
    max_bytes: Positive | None = None


class Cache(Section, frozen=True, kw_only=True):
    """Replies kept to be served again to the client that paid for them. Units: seconds, bytes as stored.

    `ttl_s` 0 keeps nothing. `url` names a Redis or Valkey; without one replies lie in the home. `max_bytes` and
    `max_replies` are a client's, and the home's store holds to them; `join_s` is how long a question waits for an equal
    one that is being answered.
    """

    ttl_s: Annotated[float, Meta(ge=0)] = 0.0
    max_bytes: Positive = 64 * 2**20
    max_replies: Positive = 20_000
    max_reply_bytes: Positive = 2**20
    join_s: Seconds = 30.0
    url: str = ""
    timeout_s: Seconds = 0.25
    clients: Mapping[str, ClientCache] = msgspec.field(default_factory=dict)


class Idempotency(Section, frozen=True, kw_only=True):
    """How long an Idempotency-Key gives the reply it gave, and how much of each is kept. Units: seconds, bytes as stored."""

    keep_s: Seconds = 86_400.0
    max_bytes: Positive = 64 * 2**20


class Journal(Section, frozen=True, kw_only=True):
    """When a journal file is left for the next and sealed: at so many events or so long after its first. Units: seconds."""

    rotate_events: Positive = 20_000
    rotate_seconds: Seconds = 60.0


class Tickets(Section, frozen=True, kw_only=True):
    """How POST /v1/tickets asks for a draft."""

    system_prompt: str = (
        "You draft replies for a support desk. Answer the customer's ticket politely, completely and to the point. "
        "Use only what you are told; say what is missing."
    )


class Content(Section, frozen=True, kw_only=True):
    """Whether drafts that come with an edit are kept, encrypted, so that a later edit need not send them again. Units: days."""

    keep_days: Annotated[int, Meta(ge=0, le=90)] = 0


class Config(Section, frozen=True, kw_only=True):
    """All settings; `reports` belongs to the reports room and is passed on unread."""

    server: Server = Server()
    provider: Provider = Provider()
    fallback: Substitute = Substitute()
    arms: Mapping[ArmName, Model] = msgspec.field(default_factory=lambda: dict(DEFAULT_ARMS))
    classifier: Classifier = Classifier()
    output_tokens: OutputTokens = OutputTokens()
    policy: Policy = Policy()
    budget: Budget = Budget()
    cache: Cache = Cache()
    idempotency: Idempotency = Idempotency()
    journal: Journal = Journal()
    tickets: Tickets = Tickets()
    content: Content = Content()
    reports: Mapping[str, Any] = msgspec.field(default_factory=dict)


def load(path: Path, environment: Mapping[str, str]) -> Config:
    """The configuration of a file, with the environment on top.

    Errors: BadConfig in one sentence, naming the file, the key and what was expected.
    """
    try:
        return read(path.read_text(encoding="utf-8"), environment, name=path.name)
    except FileNotFoundError:
        raise BadConfig(f"{path} does not exist. Make a home with: halfpenny init --home {path.parent}.") from None
    except (OSError, UnicodeDecodeError) as refused:
        raise BadConfig(f"{path} cannot be read: {refused}.") from None


def read(toml: str, environment: Mapping[str, str], *, name: str = "halfpenny.toml") -> Config:
    """The same of a text. Errors: BadConfig."""
    try:
        found: dict[str, Any] = tomllib.loads(toml)
        config = msgspec.convert(_overlaid(found, environment), Config, strict=True)
    except tomllib.TOMLDecodeError as refused:
        raise BadConfig(f"{name} is not TOML: {refused}.") from None
    except msgspec.ValidationError as refused:
        raise BadConfig(f"{name}: {_sentence(str(refused))}") from None
    check_providers(config.provider, config.fallback, name)
    return _with_policy(config, name)


def terms_of(config: Config) -> Terms:
    """What the policies are told of the configuration. Shapes: the default arms first, others as they stand in the file."""
    chosen, arms = config.policy, config.arms
    ordered = [arm for arm in DEFAULT_ARMS if arm in arms] + [arm for arm in arms if arm not in DEFAULT_ARMS]
    shares = tuple(chosen.shares.items())
    if not shares and {"simple", "complex"} <= set(chosen.class_arms):
        first, second = chosen.class_arms["simple"], chosen.class_arms["complex"]
        shares = ((first, chosen.standard_share), (second, 1.0 - chosen.standard_share))
    return Terms(
        arms=tuple((arm, arms[arm]) for arm in ordered),
        class_arms=tuple(chosen.class_arms.items()),
        policy=chosen.name,
        shares=shares,
        seed=chosen.seed,
        explore=chosen.explore,
        target_edit_rate=chosen.target_edit_rate,
        minutes_per_quality=chosen.minutes_per_quality,
        tickets_per_month=chosen.tickets_per_month,
        second_look=chosen.second_look,
    )


def _with_policy(config: Config, name: str) -> Config:
    """The configuration with the default arms its classes name filled in. Errors: BadConfig for what cannot work."""
    wanted = config.policy.class_arms.values()
    arms = {arm: model for arm, model in DEFAULT_ARMS.items() if arm in wanted} | dict(config.arms)
    filled = msgspec.structs.replace(config, arms=arms)
    if clash := sorted(set(arms) & set(get_args(Fallback))):
        raise BadConfig(
            f"{name}: an arm cannot be called {clash[0]!r}, which names a fallback. Call it something else."
        )
    sorting = config.classifier
    if sorting.shadow_share and sorting.shadow_model in ("", sorting.model):
        raise BadConfig(
            f"{name}: classifier.shadow_share is {sorting.shadow_share:g} and classifier.shadow_model {sorting.shadow_model!r}. "
            "Name another priced model than classifier.model to check it, or set the share to 0."
        )
    try:
        config_of(terms_of(filled), "", None)
    except PolicyMisconfigured as wrong:
        raise BadConfig(f"{name}: [policy] cannot work: {wrong}. Correct [policy] or [arms].") from None
    return filled


def default_text(
    *, provider_url: str | None = None, key_env: str | None = None, port: int | None = None, policy: str | None = None
) -> str:
    """What `halfpenny init` writes: the few settings people change, the rest at its default.

    Errors: BadConfig when a value given cannot be taken.
    """
    provider, server = Provider(), Server()
    quoted = {
        "url": provider_url or provider.base_url,
        "key": key_env or provider.key_env,
        **DEFAULT_ARMS,
        "classifier": Classifier().model,
    }
    said = {name: msgspec.json.encode(value).decode() for name, value in quoted.items()}
    text = f"""# Halfpenny. Clients, keys, budgets and prices are events, set by commands; here stands what a process needs to start.

[server]
host = "{server.host}"
port = {server.port if port is None else port}

[provider]
base_url = {said["url"]}
key_env = {said["key"]}          # the variable that holds the provider's key; the key itself is never in a file

[arms]                                # names for two models; which one is dearer is measured, not assumed
standard = {said["standard"]}
premium = {said["premium"]}

[classifier]
model = {said["classifier"]}

[output_tokens]
default = {OutputTokens().default}                        # imposed when a request has no max_completion_tokens

[policy]                              # of clients without one of their own: halfpenny policy set CLIENT …
name = "{policy or Policy().name}"                        # label: the class decides; fixed: shares; paced: the budget lasts; floor: a quality
"""
    read(text, {})
    return text


def _overlaid(found: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The file's tables with the environment's values put over them, each read as its key's own type."""
    for section in msgspec.structs.fields(Config):
        if section.name == "reports":
            continue
        for key, kind in keys_of(section.name, found):
            variable = f"{ENVIRONMENT_PREFIX}_{section.name}_{key}".upper().replace("-", "_").replace(".", "_")
            if (said := environment.get(variable)) is None:
                continue
            table = found.setdefault(section.name, {})
            if isinstance(table, dict):
                table[key] = _typed(said, kind, variable)
    return found


def keys_of(section: str, found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The keys of a section with their types; of `arms`, whose names are free, the default ones and those of the file."""
    if section == "arms":
        named = found.get("arms", {})
        return [(arm, Model) for arm in dict.fromkeys((*DEFAULT_ARMS, *(named if isinstance(named, dict) else ())))]
    (kind,) = (field.type for field in msgspec.structs.fields(Config) if field.name == section)
    return [(key.name, key.type) for key in msgspec.structs.fields(kind)]


def _typed(said: str, kind: Any, variable: str) -> Any:
    try:
        return msgspec.convert(said, kind, strict=False)
    except msgspec.ValidationError as refused:
        raise BadConfig(f"{variable} in the environment: {_sentence(str(refused))}") from None


def _sentence(refused: str) -> str:
    """msgspec's complaint as a sentence: `Object contains unknown field` and the like, with the place."""
    complaint, _, place = refused.partition(" - at `$")
    where = place.rstrip("`").lstrip(".")
    if complaint.startswith("Object contains unknown field"):
        key = complaint.rpartition(" ")[2].strip("`")
        return f"unknown key {key!r}{f' in [{where}]' if where else ''}. Remove it or correct its spelling."
    return f"{where + ': ' if where else ''}{complaint[:1].lower()}{complaint[1:]}."
