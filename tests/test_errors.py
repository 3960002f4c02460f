"""Every refusal of the ledger says what was found and what to do; the tree at the top of errors.py is the code's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ledger import errors
from ledger.budgets import Account, period_named
from ledger.errors import (
    BadMoment,
    BadMoney,
    BadPeriod,
    BudgetSpent,
    Conflict,
    Damage,
    HomeInUse,
    HomeNotPrivate,
    HomeNotWritable,
    InvalidInput,
    LedgerError,
    NoLongerHere,
    NotAHome,
    NotFound,
    UnpricedModel,
    WriteFailed,
)
from ledger.home import create, existing
from ledger.money import usd
from ledger.prices import PriceBook, moment_of, read_book
from ledger.projections import State

AT = datetime(2026, 10, 1, 12, tzinfo=UTC)
HOME = Path("books")
NEVER_SAID = {"LedgerError", "Refusal", "HomeError"}  # the branches of the tree


def raised(error: LedgerError) -> Callable[[Path], object]:
    """For what only a disk or another process can cause: the sentence itself."""

    def act(_: Path) -> object:
        raise error

    return act


# How it comes about; which class; what was found; what to do.
CASES: tuple[tuple[Callable[[Path], object], type[LedgerError], tuple[str, ...], str], ...] = (
    (lambda _: read_book("[[prices]]\nmodel='m'"), InvalidInput, ("prices",), "holds [[price]] tables alone"),
    (lambda _: usd("12,50"), BadMoney, ("'12,50'", "not a number"), "Write it as text, like 12.50."),
    (lambda _: moment_of("2026-10-01T12:00"), BadMoment, ("'2026-10-01T12:00'",), "with a zone, like 2026-10-01"),
    (lambda _: period_named("10/2026", "UTC"), BadPeriod, ("'10/2026'",), "Write it as YYYY-MM, like 2026-10."),
    (
        lambda path: [create(path / "home", ""), create(path / "home", "")],
        Conflict,
        ("home is a Halfpenny home already",),
        "choose another directory",
    ),
    (lambda _: State().client("acme"), NotFound, ("no client 'acme'",), "halfpenny client add acme --currency EUR"),
    (
        lambda _: PriceBook().price_at("m", AT),
        UnpricedModel,
        ("'m' is not in the price book at 2026-10-01T12:00:00Z",),
        "halfpenny price add m --input USD_PER_MTOK --output USD_PER_MTOK --valid-from 2026-10-01",
    ),
    (
        lambda _: Account(
            scope="acme",
            period="2026-10",
            cap=Decimal("300.00"),
            settled=Decimal("299.5"),
            held=Decimal("0.40"),
            orphaned=Decimal("0.05"),
        ).refuse_unless_fits(Decimal("0.0738")),
        BudgetSpent,
        ("acme for 2026-10 is 300 USD", "299.5 settled", "0.4 held", "0.05 held by calls whose end", "0.0738 USD"),
        "halfpenny budget set acme AMOUNT --hard",
    ),
    (lambda path: existing(path / "nowhere"), NotAHome, ("nowhere", "halfpenny.toml is missing"), "halfpenny init"),
    (
        raised(NotAHome(HOME, "keys/pepper")),
        NotAHome,
        ("books", "keys/pepper is missing"),
        "restore it from a backup",
    ),
    (
        raised(HomeNotPrivate(HOME, HOME / "keys/pepper", 0o644)),
        HomeNotPrivate,
        ("keys/pepper: its mode is 0644", "a home has 0700 and a secret 0600"),
        "chmod -R go= ",
    ),
    (
        raised(HomeNotWritable(HOME, "Read-only file system")),
        HomeNotWritable,
        ("books", "Read-only file system"),
        "choose another --home",
    ),
    (
        raised(NoLongerHere("What was known at 2025-09-30T00:00:00Z", "2025-09")),
        NoLongerHere,
        ("What was known at 2025-09-30T00:00:00Z cannot be told", "2025-09 and before were exported and dropped"),
        "the events themselves are in the export",
    ),
    (raised(HomeInUse(HOME, "process 4711")), HomeInUse, ("books is in use by process 4711",), "stop that one"),
    (
        raised(WriteFailed(HOME / "journal/0000000042.jsonl", "No space left on device")),
        WriteFailed,
        ("0000000042.jsonl", "No space left on device", "Nothing waiting was acknowledged"),
        "free or repair the disk and start again",
    ),
    (
        raised(Damage(HOME / "journal/0000000042.jsonl", "its check sum does not match", offset=8192)),
        Damage,
        ("0000000042.jsonl is damaged at byte 8192", "its check sum does not match"),
        "restore the file from a backup",
    ),
)


@pytest.mark.parametrize(("act", "error", "found", "todo"), CASES, ids=[case[1].__name__ for case in CASES])
def test_a_refusal_says_what_was_found_and_what_to_do(
    tmp_path: Path, act: Callable[[Path], object], error: type[LedgerError], found: tuple[str, ...], todo: str
) -> None:
    with pytest.raises(LedgerError) as refused:
        act(tmp_path)

    sentence = str(refused.value)
    assert type(refused.value) is error
    assert all(part in sentence for part in found), sentence
    assert todo in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_every_error_has_a_case() -> None:
    classes = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, LedgerError)}

    assert {case[1].__name__ for case in CASES} == classes - NEVER_SAID


def test_the_tree_at_the_top_is_the_codes() -> None:
    drawn, branch = {}, {-1: "Exception"}
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip("│├└─ ").split(" ", 1)[0]
        if name and isinstance(kind := vars(errors).get(name), type) and issubclass(kind, LedgerError):
            depth = (len(line) - len(line.lstrip("│├└─ "))) // 4
            drawn[name], branch[depth] = branch[depth - 1], name

    classes = {kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, LedgerError)}
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in classes}


def test_a_damaged_file_without_a_place_is_named_all_the_same() -> None:
    damage = Damage("manifest.json", "its sha256 does not match")

    assert str(damage).startswith("manifest.json is damaged: its sha256 does not match.")
    assert (damage.path, damage.offset) == ("manifest.json", None)
