"""Who a bearer key is; everything that is no key looks the same."""

from __future__ import annotations

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


def test_a_private_ticket_id_is_the_same_for_the_same_ticket_and_another_for_another_client() -> None:
    ids = [
        private_ticket_id(PEPPER, *who) for who in (("acme", "T-1"), ("acme", "T-1"), ("bolt", "T-1"), ("acme", "T-2"))
    ]

    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all("T-" not in found and found.startswith("t_") and len(found) == 34 for found in ids)
