"""Who a bearer key is; everything that is no key looks the same."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from ledger.home import key_hash
from ledger.projections import Key
from router.errors import BadKey
from router.keys import Identity, KeyRing, private_ticket_id

PEPPER = bytes(range(32))
KEYS = {
    key_hash(PEPPER, "hp_1_good"): Key("hp_1", "acme", "app", revoked=False),
    key_hash(PEPPER, "hp_2_old"): Key("hp_2", "acme", "app", revoked=True),
}
RING = KeyRing(PEPPER, "hp_admin_token", KEYS)


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
    keys = {digest: Key("hp_3", "acme", "app", revoked=False)}
    ring = KeyRing(PEPPER, "t", keys)
    assert ring.identify("Bearer hp_3_new").key_id == "hp_3"

    keys[digest] = keys[digest]._replace(revoked=True)

    with pytest.raises(BadKey):
        ring.identify("Bearer hp_3_new")


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


def test_a_private_ticket_id_is_the_same_for_the_same_ticket_and_another_for_another_client() -> None:
    ids = [
        private_ticket_id(PEPPER, *who) for who in (("acme", "T-1"), ("acme", "T-1"), ("bolt", "T-1"), ("acme", "T-2"))
    ]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all("T-" not in found and found.startswith("t_") and len(found) == 34 for found in ids)
