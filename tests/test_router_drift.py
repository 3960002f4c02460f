"""Drift: what changed is told once, soon, and never of a calm stream; a replay raises the same alarms."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import events as e
from ledger.errors import Conflict
from ledger.home import create
from ledger.segments import read_all
from ledger.store import Ledger
from router import gains, standing_home
from router.drift import MIX, Drift, LatencyWatch, ShareTest, ShareWatch, checked
from router.standing import Standings
from router.standing_folds import apply
from router.standing_home import Follower, dump, replay
from router.telling import Teller, alarmed
from tests.running import gateway, prepared, provider
from tests.served_home import journal_events
from tests.test_router_standing import LARGE, MEDIUM, TERMS, acme, at, edited, opened, price, reserved
from tests.test_router_standing import settled as ended


def seconds(
    seed: int, calls: int, *, scatter: float, daily: float = 1.0, slower_from: int | None = None
) -> Iterator[float]:
    """Log-normal latencies around 2 s, which the hour of the day multiplies and divides by `daily`; from a call on doubled."""
    draw = random.Random(seed)
    for call in range(calls):
        usual = 2.0 * daily ** math.sin(call / 250 * 2 * math.pi)
        yield (
            usual
            * math.exp(draw.gauss(0.0, scatter))
            * (2.0 if slower_from is not None and call >= slower_from else 1.0)
        )


def sorted_tickets(
    seed: int, tickets: int, share: float, *, after: float = 0.0, since: int | None = None
) -> Iterator[bool]:
    """Whether each ticket is complex; 250 of a day share odds that scatter by a fifth."""
    draw, today = random.Random(seed), 0.0
    for ticket in range(tickets):
        today = draw.gauss(0.0, 0.2) if ticket % 250 == 0 else today
        now = share if since is None or ticket < since else after
        yield draw.random() < 1.0 / (1.0 + math.exp(-math.log(now / (1.0 - now)) - today))


def watched(hits: Iterator[bool]) -> list[int]:
    """Where the mix of these tickets raised an alarm."""
    watch = ShareWatch()
    return alarms_of(lambda hit: watch.take(hit, MIX), hits)


def alarms_of(take: Callable[[Any], object], facts: Iterator[Any]) -> list[int]:
    return [number for number, fact in enumerate(facts) if take(fact) is not None]


def delay(found: list[int], since: int) -> float:
    """Facts from the change to its alarm; infinite when none came. An alarm before it fails the test."""
    assert not [number for number in found if number < since]
    return found[0] - since + 1 if found else math.inf


@pytest.mark.parametrize("scatter", [0.1, 0.4, 0.7])
def test_a_calm_stream_of_latencies_raises_no_alarm(scatter: float):
    found = [alarms_of(LatencyWatch().take, seconds(seed, 20_000, scatter=scatter)) for seed in range(4)]

    assert found == [[]] * 4  # 80,000 calls; by the band one in a million is expected


def test_hours_that_take_1_3_times_as_long_raise_at_most_one_alarm_in_40000_calls():
    found = [alarms_of(LatencyWatch().take, seconds(seed, 20_000, scatter=0.4, daily=1.3)) for seed in range(4)]

    assert sum(map(len, found)) <= 2


@pytest.mark.parametrize(("scatter", "median_at_most"), [(0.1, 12), (0.4, 20), (0.7, 60)])
def test_doubled_latency_is_seen_within_some_dozens_of_calls_and_told_once(scatter: float, median_at_most: int):
    found = [
        alarms_of(LatencyWatch().take, seconds(seed, 3000, scatter=scatter, slower_from=2000)) for seed in range(15)
    ]
    delays = sorted(delay(one, 2000) for one in found)

    assert delays[7] <= median_at_most
    assert delays[-1] < math.inf
    assert all(len(one) == 1 for one in found)


def test_one_call_that_hung_and_a_slow_hundred_at_the_start_are_no_change():
    watch = LatencyWatch()

    assert alarms_of(watch.take, iter([9.0] * 50 + [2.0] * 50)) == []
    assert alarms_of(LatencyWatch().take, iter([2.0] * 200 + [600.0] + [2.0] * 200)) == []


def test_milliseconds_that_triple_are_this_machine_and_no_change_of_a_model():
    """A provider that answers at once, as in a load test, made some alarms a second, each an event and a line of the log."""
    assert alarms_of(LatencyWatch().take, iter([0.004] * 300 + [0.013] * 300)) == []


def test_latency_that_falls_back_begins_a_new_past_so_that_it_may_double_again():
    usual, slow = [2.0, 2.2, 1.8] * 60, [4.0, 4.4, 3.6] * 60
    found = alarms_of(LatencyWatch().take, iter([*usual, *slow, *usual, *slow]))

    assert [number // 180 for number in found] == [1, 3]


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6])
def test_a_calm_mix_of_tickets_raises_no_alarm(share: float):
    found = [watched(sorted_tickets(seed, 15_000, share)) for seed in range(4)]

    assert found == [[]] * 4  # 60,000 tickets, eight months of a house of 250 a day


@pytest.mark.parametrize(("after", "median_at_most"), [(0.52, 700), (0.2, 600)])
def test_a_mix_that_changed_is_seen_within_days(after: float, median_at_most: int):
    found = [watched(sorted_tickets(seed, 7000, 0.35, after=after, since=3000)) for seed in range(9)]

    assert sorted(delay(one, 3000) for one in found)[4] <= median_at_most


def test_a_classifier_that_agrees_less_with_a_second_opinion_is_seen_and_a_steady_one_not():
    def opinions(seed: int, count: int, since: int) -> Iterator[bool]:
        draw = random.Random(seed)
        return (draw.random() < (0.85 if number < since else 0.6) for number in range(count))

    def found(seed: int, count: int, since: int) -> list[int]:
        client = Drift()
        return alarms_of(lambda agrees: checked(client, agrees=agrees), opinions(seed, count, since))

    assert [found(seed, 4000, 4000) for seed in range(5)] == [[]] * 5
    assert sorted(delay(found(seed, 1000, 300), 300) for seed in range(9))[4] <= 100


def test_the_sums_are_log_likelihood_ratios_worked_out_by_hand():
    """A past of one half, odds twice as high: the share would be 2/3. A hit speaks for it by ln(4/3), a miss by ln(2/3)."""
    test = ShareTest(odds=2.0, least=2, memory=1e12, band=1e9, weight=1.0)
    watch = ShareWatch()
    for is_so in (True, False, True):
        watch.take(is_so, test)

    assert watch.more.sum == pytest.approx(math.log(4 / 3))
    # the other side: odds half as high give 1/3; a hit speaks against it by ln(2/3), so it stays at zero
    assert (watch.less.sum, watch.more.count) == (0.0, 1)


def served(call: str, hours: float, name: str | None, **more: Any) -> list[e.Event]:
    hold = reserved(call, hours)
    return [hold, ended(hold, response_model=name, **more)]


def drifted(events: list[e.Event]) -> list[tuple[str, str]]:
    return [(alarm.drift, alarm.reason) for alarm in acme(events).drift.due]


def test_a_model_that_answers_under_another_name_is_told_once_though_it_goes_to_and_fro():
    dated, later = f"{MEDIUM}-2025-08-06", f"{MEDIUM}-2025-10-02"
    names = [dated, dated, None, later, dated, later, later]

    events = [*opened(), *(event for n, name in enumerate(names) for event in served(f"c{n}", n, name))]

    assert drifted(events) == [("served_model", f"{MEDIUM} answers as {later}; it answered as {dated} before")]
    (alarm,) = acme(events).drift.due
    assert (alarm.cause_id, alarm.arm, alarm.time) == ("s-c3", "standard", events[-7].time)


def test_another_model_than_was_asked_for_is_told_from_the_first_call_on():
    events = [*opened(), *served("a", 1, LARGE, usage_anomaly="served_other_model"), *served("b", 2, LARGE)]

    assert drifted(events) == [("served_model", f"{MEDIUM} answers as {LARGE}; it was asked for")]


def test_a_changed_model_is_doubted_its_level_is_open_again_and_its_costs_weigh_as_a_prior():
    months: list[e.Event] = []
    for number in range(60):
        hold = reserved(f"c{number}", number)
        months += [hold, ended(hold, response_model=MEDIUM), edited(f"c{number}", 0.2, number + 0.5)]
    before = acme([*opened(), *months]).state
    after = acme([*opened(), *months, *served("new", 61, "another-snapshot")]).state

    assert after.quality["standard"].level_sd > 2 * before.quality["standard"].level_sd
    assert after.quality["standard"].beta[0] == pytest.approx(before.quality["standard"].beta[0], abs=0.1)
    assert (before.costs["standard"].weight, after.costs["standard"].weight) == (pytest.approx(58.3, abs=0.1), 20.0)
    assert after.refreshed_s > before.refreshed_s


def test_a_price_is_told_when_it_takes_effect_not_when_it_is_listed_and_its_first_one_not_at_all():
    noon = price(LARGE, at(12), "0.5", "1.5")
    before = [*opened(), noon, *served("a", 11, MEDIUM)]

    assert drifted(before) == []
    assert drifted([*before, *served("b", 13, MEDIUM), *served("c", 14, MEDIUM)]) == [
        (
            "price",
            f"premium ({LARGE}) costs 0.5 in and 1.5 out USD per million tokens, 2 in and 6 out USD per million tokens before",
        )
    ]
    (alarm,) = acme([*before, *served("b", 13, MEDIUM)]).drift.due
    assert (alarm.price_id, alarm.previous_price_id) == (f"{LARGE}@2025-10-01", f"{LARGE}@2025-09-29")
    assert alarm.cause_id == "r-b"


def fallen(ratings: int = 160, since: int = 100) -> list[e.Event]:
    """Ratings of one arm at 0.9, from one on at 0.1."""
    found = opened()
    for number in range(ratings):
        hold = reserved(f"c{number}", number)
        ratio = round((0.12 if number % 2 else 0.08) + (0.0 if number < since else 0.8), 2)
        found += [hold, ended(hold, response_model=MEDIUM), edited(f"c{number}", ratio, number + 0.5)]
    return found


def test_quality_that_falls_is_told_once_with_both_levels_and_what_was_tallied_fades():
    found = acme(fallen())

    (alarm,) = found.drift.due
    assert (alarm.drift, alarm.arm, found.ratings["alarm"]) == ("quality", "standard", 1)
    assert alarm.before == pytest.approx(0.85, abs=0.1)
    assert alarm.after is not None
    assert alarm.after < 0.5
    assert alarm.reason.startswith("the quality of standard fell to 0.")
    tally = found.tallies["standard"]["simple"]
    assert tally.edit_rate.count == 160
    assert tally.edit_rate.weight < 80  # some ten old ones, and those since
    assert found.state.quality["standard"].beta[0] < 0.3


def test_a_changed_mix_leaves_only_the_tickets_since_in_the_sample_behind_lambda():
    def ticket(number: int, *, is_complex: bool) -> e.CallReserved:
        return reserved(f"c{number}", number / 20, ticket_class="complex" if is_complex else "simple")

    events = [*opened(), *(ticket(number, is_complex=number % 4 == 0) for number in range(1000))]
    changed = [ticket(number, is_complex=number % 4 != 0) for number in range(1000, 1100)]
    standing = acme([*events, *changed])

    (alarm,) = standing.drift.due
    assert (alarm.drift, alarm.before) == ("classes", pytest.approx(0.25, abs=0.01))
    assert alarm.after == pytest.approx(0.75, abs=0.05)
    assert alarm.observations < 100
    # the sample began anew with the tickets since the change, and went on
    assert len(standing.state.window) < 101


def test_slower_calls_are_told_with_their_purpose_and_arm():
    durations = [2.0, 2.4, 1.6] * 50 + [4.0, 5.0, 3.2] * 10
    events = [event for n, took in enumerate(durations) for event in served(f"c{n}", n / 10, MEDIUM, duration_s=took)]
    (alarm,) = acme([*opened(), *events]).drift.due

    assert (alarm.drift, alarm.purpose, alarm.arm, alarm.request_model) == ("latency", "generation", "standard", MEDIUM)
    assert (alarm.before, alarm.after) == (pytest.approx(2.0, abs=0.1), pytest.approx(4.0, abs=0.3))


def changing() -> list[e.Event]:
    """A log with three changes: a price takes effect, quality falls, the model answers under another name."""
    first, rest = fallen(since=130)[:4], fallen(since=130)[4:]
    return [*first, price(LARGE, at(90.5), "0.5", "1.5"), *rest, *served("new", 161, "another-snapshot")]


@contextmanager
def ledger_told(path: Path) -> Iterator[tuple[Ledger, Standings, Teller]]:
    """A ledger whose changes are told into it, as the service does."""
    live, count = Standings(TERMS), iter(range(1000))
    ledger = Ledger.open(path, clock=lambda: at(200), folds=(Follower(live),))
    try:
        yield ledger, live, Teller(live, ledger.append_now, lambda: f"told-{next(count)}-{ledger.state.position}")
    finally:
        ledger.close()


def test_a_replay_raises_the_same_alarms_and_folds_to_the_same_bytes(tmp_path: Path):
    home = create(tmp_path / "home", "")
    with ledger_told(home.path) as (ledger, live, teller):
        for event in changing():
            ledger.append_now(event)
            if teller.note(event):
                teller.look()
    log = journal_events(home)
    told = [event for event in log if isinstance(event, e.DriftAlarmed)]

    assert [alarm.drift for alarm in told] == ["price", "quality", "served_model"]
    assert dump(replay(log, TERMS)) == dump(live)
    facts = [event for event in log if not isinstance(event, e.DriftAlarmed)]
    due = replay(facts, TERMS).clients["acme"].drift.due
    assert [alarmed(live.clients["acme"], alarm, event_id=said.id) for alarm, said in zip(due, told, strict=True)] == [
        replace(said, **dict.fromkeys(e.STAMPS)) for said in told
    ]
    assert live.clients["acme"].state.lambda_ == replay(facts, TERMS).clients["acme"].state.lambda_


def test_no_alarm_is_told_twice_whoever_tells_it(tmp_path: Path):
    home = create(tmp_path / "home", "")
    with ledger_told(home.path) as (ledger, live, teller):
        for event in changing():
            ledger.append_now(event)  # nobody tells, as when the service was killed here
        assert len(live.clients["acme"].drift.due) == 3
    with ledger_told(home.path) as (ledger, live, teller):
        teller.start()
        teller.start()
        told = [event for event in journal_events(home) if isinstance(event, e.DriftAlarmed)]

        # the price of four days before is no news any more
        assert [alarm.drift for alarm in told] == ["quality", "served_model"]
        with pytest.raises(Conflict, match="told already, or the log does not raise it"):
            ledger.append_now(replace(told[0], id="again", **dict.fromkeys(e.STAMPS)))


@settings(max_examples=8, deadline=None)
@given(cut=st.integers(0, 500))
def test_a_snapshot_between_a_change_and_its_alarm_raises_it_all_the_same(cut: int):
    events = changing()
    body = dump(replay(events[:cut], TERMS)).partition(b"\n")[2]
    resumed = standing_home._decoder.decode(body)
    for event in events[cut:]:
        apply(resumed, event)

    assert dump(resumed) == dump(replay(events, TERMS))


@pytest.mark.anyio
async def test_a_service_tells_of_another_model_once_over_a_restart_and_rings_the_webhook(tmp_path: Path) -> None:
    got: list[dict[str, Any]] = []
    rung = asyncio.Event()

    async def take(hooked: web.Request) -> web.Response:
        got.append(await hooked.json())
        rung.set()
        return web.Response()

    receiver = web.Application()
    receiver.router.add_post("/hook", take)
    made = prepared(tmp_path / "home")
    body = {"model": MEDIUM, "messages": [{"role": "user", "content": "Where is my card?"}]}
    with provider(tmp_path) as upstream:
        async with TestServer(receiver) as hook, ClientSession() as session:
            for fault in ("wrong_model", ""):
                told_to = {"budget_webhook_url": str(hook.make_url("/hook")), "webhook_secret": "s"}
                with gateway(made.home, upstream.url, said=f"gateway-{fault}.said", **told_to) as service:
                    headers = {"authorization": f"Bearer {made.app_key}"} | (
                        {"x-simulate-fault": fault} if fault else {}
                    )
                    for _ in range(2):
                        async with session.post(
                            f"{service.url}/v1/chat/completions", json=body, headers=headers
                        ) as reply:
                            assert reply.status == 200
                    await asyncio.wait_for(rung.wait(), 30)

    told = [event for event in read_all(made.home) if isinstance(event, e.DriftAlarmed)]
    # from Medium to another model, which was told and is known from then on, and back to its own name, which is new
    assert [(event.drift, event.response_model == MEDIUM) for event in told] == [
        ("served_model", False),
        ("served_model", True),
    ]
    assert [one["id"] for one in got][:1] == [told[0].id]
    assert (got[0]["type"], got[0]["reason"]) == ("drift.alarmed", told[0].reason)


def ratings_of(seed: int, count: int, *, since: int | None = None, fall: float = 0.0, least: float = 0.0) -> list[int]:
    """Where an arm's ratings, scattered by 0.25 around a line, raise the alarm; from one on tickets scored `least` or more are worse by `fall`."""
    draw, arm, found = random.Random(seed), gains.ArmQuality(), []
    for number in range(count):
        score = draw.random()
        mean = 0.85 - 0.3 * score - (fall if since is not None and number >= since and score >= least else 0.0)
        x = gains.features(score, "simple" if score < 0.65 else "complex", 700)
        if gains.rated(arm, x, min(max(draw.gauss(mean, 0.25), 0.0), 1.0)):
            found.append(number)
        if number % 20 == 0:
            gains.solve(arm)
    return found


def test_calm_ratings_raise_no_alarm_and_a_fall_of_quality_is_seen_also_where_it_is_one_classes():
    assert [ratings_of(seed, 10_000) for seed in range(3)] == [[]] * 3

    everywhere = sorted(delay(ratings_of(seed, 2500, since=1500, fall=0.3), 1500) for seed in range(7))
    complex_alone = sorted(delay(ratings_of(seed, 3500, since=1500, fall=0.3, least=0.65), 1500) for seed in range(7))
    assert everywhere[3] <= 50
    assert complex_alone[3] <= 400
