"""Who a bearer key is; everything that is no key looks the same."""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from types import FrameType

import pytest

from ledger.home import key_hash
from ledger.projections import Key
from router import keys
from router.errors import BadKey
from router.keys import Identity, KeyRing, private_ticket_id

PEPPER = bytes(range(32))
KEYS = {
    key_hash(PEPPER, "hp_1_good"): Key("hp_1", "acme", "app", revoked=False),
    key_hash(PEPPER, "hp_2_old"): Key("hp_2", "acme", "app", revoked=True),
}
RING = KeyRing(PEPPER, "hp_admin_token", KEYS)
GUESSES = 10_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("header", ["Bearer hp_1_good", "bearer hp_1_good", "BEARER  hp_1_good "])
def test_a_key_is_its_identity(header: str) -> None:
    assert RING.identify(header) == Identity("hp_1", "acme", "app")


def test_the_homes_own_token_is_an_admin_of_no_client() -> None:
    assert RING.identify("Bearer hp_admin_token") == Identity("admin.token", None, "admin")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "hp_1_good",
        "Basic hp_1_good",
        "Bearer hp_1_bad",
        "Bearer hp_2_old",
        "Bearer \udcff",
        "Bearer " + "x" * 10_000,
        "Bearer " + key_hash(PEPPER, "hp_1_good"),
    ],
)
def test_everything_else_is_one_and_the_same_refusal(header: str | None) -> None:
    with pytest.raises(BadKey) as refused:
        RING.identify(header)

    assert refused.value.body == BadKey().body


def test_a_revocation_counts_at_once() -> None:
    digest = key_hash(PEPPER, "hp_3_new")
    found = {digest: Key("hp_3", "acme", "app", revoked=False)}
    ring = KeyRing(PEPPER, "t", found)
    assert ring.identify("Bearer hp_3_new").key_id == "hp_3"

    found[digest] = found[digest]._replace(revoked=True)

    with pytest.raises(BadKey):
        ring.identify("Bearer hp_3_new")


def test_a_good_key_is_hashed_once_and_recognised_again_under_no_other_header(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(keys, "key_hash", lambda pepper, key: [hashed.append(key), key_hash(pepper, key)][1])
    monkeypatch.setattr(keys, "RECOGNISED_AT_MOST", 2)
    ring = KeyRing(PEPPER, "t", KEYS)
    hashed.clear()

    assert {ring.identify("Bearer hp_1_good") for _ in range(3)} == {Identity("hp_1", "acme", "app")}
    assert hashed == ["hp_1_good"]
    for header in ("Bearer hp_1_goo", "Bearer hp_1_good.", "Bearer hp_2_old"):
        with pytest.raises(BadKey):
            ring.identify(header)
        with pytest.raises(BadKey):
            ring.identify(header)
    assert len(ring._recognised) == 1  # nothing is kept of a wrong one
    for header in ("bearer hp_1_good", "BEARER hp_1_good"):
        ring.identify(header)
    assert len(ring._recognised) == 1  # the room is bounded


def test_a_near_miss_an_unknown_key_and_a_revoked_one_take_the_same_steps() -> None:
    """Nothing is compared character by character, so there is no shorter way for a worse guess."""

    def steps(header: str) -> list[int]:
        taken: list[int] = []

        def seen(frame: FrameType, event: str, _: object) -> object:
            if frame.f_code is KeyRing.identify.__code__ and event == "line":
                taken.append(frame.f_lineno)
            return seen

        before = sys.gettrace()
        sys.settrace(seen)
        try:
            RING.identify(header)
        except BadKey:
            return taken
        finally:
            sys.settrace(before)
        raise AssertionError(f"{header} was let in")

    guesses = ("hp_1_goox", "xp_1_good", "hp_1_goo", "hp_1_good!", "x" * 200, "hp_2_old", "hp_admin_tokex")
    taken = [steps(f"Bearer {guess}") for guess in guesses]
    assert len(taken[0]) > 5
    assert all(one == taken[0] for one in taken)


def near_and_far(known: dict[str, str], seed: int) -> list[tuple[bool, str]]:
    """Headers in pairs whose order is drawn: a known key's id with a secret that is wrong in its last letter, and a key nobody has."""
    draw = random.Random(seed)
    guesses: list[tuple[bool, str]] = []
    for key_id in draw.choices(list(known), k=GUESSES):
        secret = known[key_id]
        near = f"{key_id}_{secret[:-1]}{draw.choice(LETTERS.replace(secret[-1], ''))}"
        far = f"hp_{draw.randbytes(4).hex()}_{''.join(draw.choices(LETTERS, k=43))}"
        guesses += draw.sample([(True, near), (False, far)], k=2)
    # Each header anew and in the order of asking: strings that lie apart in memory take another time to read.
    return [(is_near, f"Bearer {guess}".encode().decode()) for is_near, guess in guesses]


def times(ask: Callable[[str], object], guesses: list[tuple[bool, str]]) -> tuple[list[int], list[int]]:
    """Nanoseconds of each refusal: of the near guesses and of the far ones."""
    near: list[int] = []
    far: list[int] = []
    gc.disable()
    try:
        for is_near, header in guesses:
            began = time.perf_counter_ns()
            try:
                ask(header)
            except BadKey:
                took = time.perf_counter_ns() - began
            else:
                raise AssertionError(f"{header} was let in")
            (near if is_near else far).append(took)
    finally:
        gc.enable()
    return near, far


def deviations(one: list[int], other: list[int]) -> float:
    """By how many standard deviations of chance one lies above the other: Mann and Whitney's U, which no outlier moves."""
    ranked = sorted(other)
    wins = sum(bisect_left(ranked, took) + bisect_right(ranked, took) for took in one) / 2
    n, m = len(one), len(other)
    return (wins - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5


def test_a_near_miss_and_an_unknown_key_are_refused_in_the_same_time() -> None:
    """The order of each pair is drawn, so a busy machine slows both alike: chance alone passes 6 deviations once in 500 million runs.

    A ring that looks up the key's id first, which both guesses show in plain sight, is told at once by the same measure.
    """
    draw = random.Random(3)
    known = {f"hp_{draw.randbytes(4).hex()}": "".join(draw.choices(LETTERS, k=43)) for _ in range(200)}
    keys = {key_hash(PEPPER, f"{i}_{secret}"): Key(i, "acme", "app", revoked=False) for i, secret in known.items()}
    ring = KeyRing(PEPPER, "hp_admin_token", keys)

    def telling(header: str) -> Identity:
        if header[7:18] not in known:
            raise BadKey
        return ring.identify(header)

    near, far = times(ring.identify, near_and_far(known, 5))
    told_near, told_far = times(telling, near_and_far(known, 5))

    assert len(near) == len(far) == GUESSES
    assert abs(deviations(near, far)) < 6
    assert 0.95 < statistics.median(near) / statistics.median(far) < 1.05
    assert deviations(told_near, told_far) > 60


def test_a_private_ticket_id_is_the_same_for_the_same_ticket_and_another_for_another_client() -> None:
    ids = [
        private_ticket_id(PEPPER, *who) for who in (("acme", "T-1"), ("acme", "T-1"), ("bolt", "T-1"), ("acme", "T-2"))
    ]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all("T-" not in found and found.startswith("t_") and len(found) == 34 for found in ids)
