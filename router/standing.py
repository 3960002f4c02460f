"""Where every client stands: the policies' state and what is shown of it, all folds of the ledger's events.

The values alone; how events change them stands in standing_folds.py. They read nothing but the events and the
configuration's terms, which are part of the value: the same log under the same terms gives the same figures to the
last digit, whether they were folded one by one as calls came in, or in one go from a snapshot and the events since.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ledger import events as e
from ledger.errors import Conflict, InvalidInput
from ledger.prices import PriceBook
from ledger.projections import Cap
from router import aggregates, policy
from router.aggregates import UNCAPPED_USD, PolicyConfig, PolicyMisconfigured, PolicyName, State, TicketView
from router.drift import Drift, key_of
from router.output_bounds import Written
from router.tallies import Tally

# Ratings scatter by some 0.3 of quality: ten of each kind tell a redo that gains a quarter from one that gains nothing.
LOOKS_RATED_AT_LEAST = 10
Shares = dict[str, dict[str, float]]  # class -> arm -> share


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the configuration says: the arms with their models, and the policy of clients that were set none.

    Shapes: `arms` are (name, model); `shares` (arm, share); units as in PolicyConfig, `target_edit_rate` 0..1.
    """

    arms: tuple[tuple[str, str], ...]
    class_arms: tuple[tuple[aggregates.TicketClass, str], ...]
    policy: PolicyName = "label"
    shares: tuple[tuple[str, float], ...] = ()
    seed: str = ""
    explore: float = 0.005
    target_edit_rate: float | None = None
    minutes_per_quality: float | None = None
    tickets_per_month: int = 0
    second_look: bool = False


@dataclass(slots=True)
class Looks:
    """What second looks came to: the quality of drafts that were redone and of suspected ones that were kept."""

    redone: int = 0
    kept: int = 0
    redone_usd: float = 0.0
    redone_rated: int = 0
    kept_rated: int = 0
    redone_quality: float = 0.0
    kept_quality: float = 0.0
    open: dict[str, bool] = field(default_factory=dict)  # call whose rating is awaited -> was it redone


def gain_of(looks: Looks) -> float | None:
    """Quality that redoing a suspected draft gained, by the ratings of both kinds; None while too few are rated."""
    if min(looks.redone_rated, looks.kept_rated) < LOOKS_RATED_AT_LEAST:
        return None
    return looks.redone_quality / looks.redone_rated - looks.kept_quality / looks.kept_rated


def usd_of(looks: Looks) -> float | None:
    """What redoing a draft cost on average; USD."""
    return looks.redone_usd / looks.redone if looks.redone else None


@dataclass(slots=True)
class Standing:
    """One client. Moments are epoch seconds; `spent` is by month, exact only as far as floats are."""

    client_id: str
    zone: str
    state: State
    tickets_per_month: int = 0
    second_look: bool = False
    policy_trouble: str | None = None  # why the policy that was set last is not in force
    policy_set_at: datetime | None = None
    caps: list[Cap] = field(default_factory=list)
    period: str = ""
    period_end: datetime | None = None
    spent: dict[str, float] = field(default_factory=dict)
    prices_due_s: float = 0.0  # when the price book next changes for an arm
    last_s: float = 0.0
    tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)  # arm -> class -> tally
    ratings: dict[str, int] = field(default_factory=dict)  # what became of feedback, by kind
    edited_minutes: float = 0.0  # discounted sums over timed edits: minutes, and quality they restored
    edited_quality: float = 0.0
    redone: dict[str, str] = field(default_factory=dict)  # call that redoes a draft -> call of the draft
    instead: dict[str, bool] = field(default_factory=dict)  # attempts under way in which a fallback answers
    looks: Looks = field(default_factory=Looks)
    announced: Shares = field(default_factory=dict)
    announced_policy: str = ""
    deferred: dict[str, int] = field(default_factory=dict)  # month -> tickets that nothing fitted
    written: dict[str, Written] = field(default_factory=dict)  # by output_bounds.kind_of
    hits: dict[str, int] = field(default_factory=dict)  # month -> drafts answered from the cache
    drafted: dict[str, int] = field(default_factory=dict)  # month -> drafts asked of a model
    drift: Drift = field(default_factory=Drift)

    @property
    def is_uncapped(self) -> bool:
        """Whether no budget is set."""
        return self.state.budget_usd >= UNCAPPED_USD


@dataclass(slots=True)
class Standings:
    """All clients. `position` is the sequence of the last event folded."""

    terms: Terms
    position: int = 0
    clients: dict[str, Standing] = field(default_factory=dict)
    prices: PriceBook = field(default_factory=PriceBook)  # of the arms' models alone

    def decide(self, client_id: str, ticket: TicketView) -> policy.Decision:
        """The client's policy's decision. Errors: PolicyMisconfigured when no arm has a price."""
        return policy.decide(self.clients[client_id].state, ticket)


def check_policy(terms: Terms, event: e.PolicySet) -> PolicyConfig:
    """The policy an event sets. Errors: InvalidInput saying what it lacks."""
    try:
        return config_of(terms, event.subject, event)
    except PolicyMisconfigured as wrong:
        raise InvalidInput(f"Policy {event.policy!r} of {event.subject!r} cannot be set: {wrong}.") from None


def check_alarm(standings: Standings, event: e.DriftAlarmed) -> None:
    """An alarm is what the log says and is told once. Errors: Conflict."""
    standing = standings.clients.get(event.subject)
    if standing is None or all(alarm.key != key_of(event) for alarm in standing.drift.due):
        raise Conflict(
            f"No alarm of {event.drift} is due for {event.subject!r}: it was told already, or the log does not raise it. "
            "Alarms are told by the service alone; see GET /v1/quality."
        )


def refuse_troubled(standings: Standings) -> None:
    """Say which client's policy does not go with the configuration. Errors: InvalidInput."""
    for standing in standings.clients.values():
        if standing.policy_trouble is not None:
            raise InvalidInput(
                f"The policy of client {standing.client_id!r} does not go with [arms]: {standing.policy_trouble}. "
                f"Correct [arms], or set another: halfpenny policy set {standing.client_id} label."
            )


def config_of(terms: Terms, client_id: str, event: e.PolicySet | None) -> PolicyConfig:
    """A client's policy: what was set, over what the configuration says. Errors: PolicyMisconfigured."""
    target = terms.target_edit_rate
    shares, explore, minutes = terms.shares, terms.explore, terms.minutes_per_quality
    if event is not None:
        target = target if event.target_edit_rate is None else event.target_edit_rate
        shares = shares if event.shares is None else shares_of(event.shares)
        explore = explore if event.explore is None else event.explore
        minutes = minutes if event.minutes_per_quality is None else event.minutes_per_quality
    if minutes is not None and not 0.0 < minutes < UNCAPPED_USD:
        raise PolicyMisconfigured(f"minutes_per_quality must be above zero, got {minutes}")
    return PolicyConfig(
        arms=tuple(arm for arm, _ in terms.arms),
        class_arms=terms.class_arms,
        policy=terms.policy if event is None else event.policy,
        shares=shares,
        target_quality=None if target is None else 1.0 - target,
        explore=explore,
        minutes_per_quality=minutes,
        seed=terms.seed if event is None or event.seed is None else event.seed,
        client_id=client_id,
    )


def shares_of(texts: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Shares as an event writes them, like standard=0.65. Errors: PolicyMisconfigured."""
    found = []
    for text in texts:
        arm, _, share = text.rpartition("=")
        try:
            found.append((arm, float(share)))
        except ValueError:
            raise PolicyMisconfigured(f"a share is written like standard=0.65, got {text!r}") from None
    return tuple(found)
