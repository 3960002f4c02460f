"""An invoice against the ledger: every difference has one kind, and together they are the whole difference."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidInput
from ledger.invoices import BadInvoice, Line, read_invoice
from ledger.reconciliation import KINDS, UNMEASURED, Amount, Cell, Kind, Reconciled, reconcile

DAY = date(2025, 10, 1)
M = "m"
IN, CACHED, OUT = "uncached_input", "cache_read", "plain_output"


def ledger(*rows: tuple[int, str, int, str]) -> dict[Cell, Amount]:
    """Rows of day of the month, bucket, tokens, USD."""
    return {Cell(DAY.replace(day=day), M, bucket): Amount(tokens, D(usd)) for day, bucket, tokens, usd in rows}


def invoice(*rows: tuple[int, str, int, str]) -> list[Line]:
    return [
        Line(DAY.replace(day=day), M, bucket, tokens, D(usd), number)
        for number, (day, bucket, tokens, usd) in enumerate(rows, 2)
    ]


def kinds(found: Reconciled) -> list[tuple[Kind, int, str, int, str]]:
    return [(one.kind, one.day.day, one.bucket, one.tokens, str(one.usd.normalize())) for one in found.residuals]


# At 2 USD a million tokens in, 0.5 cached and 10 out. (ledger, invoice, residuals, what needs an explanation)
CASES = {
    "equal": ([(1, IN, 1_000_000, "2")], [(1, IN, 1_000_000, "2.00")], [], "0"),
    "printed with two decimals": (
        [(1, IN, 1_002_000, "2.004")],
        [(1, IN, 1_002_000, "2.00")],
        [("rounding", 1, IN, 0, "-0.004")],
        "0",
    ),
    "the same tokens dearer": (
        [(1, IN, 1_000_000, "2")],
        [(1, IN, 1_000_000, "2.50")],
        [("price", 1, IN, 0, "0.5")],
        "0.5",
    ),
    "billed and not recorded": (
        [(1, IN, 1_000_000, "2")],
        [(1, IN, 1_500_000, "3.00")],
        [("missing", 1, IN, 500_000, "1")],
        "1",
    ),
    "recorded and not billed": (
        [(1, OUT, 100_000, "1")],
        [(2, IN, 0, "0.00")],
        [("missing", 1, OUT, -100_000, "-1")],
        "1",
    ),
    "a line twice": (
        [(1, IN, 1_000_000, "2"), (1, OUT, 10_000, "0.1")],
        [(1, IN, 1_000_000, "2.00"), (1, OUT, 10_000, "0.10"), (1, IN, 1_000_000, "2.00")],
        [("duplicate", 1, IN, 1_000_000, "2")],
        "2",
    ),
    "two equal lines of two keys": (
        [(1, IN, 2_000_000, "4")],
        [(1, IN, 1_000_000, "2.00"), (1, IN, 1_000_000, "2.00")],
        [],
        "0",
    ),
    "another midnight": (
        [(1, IN, 1_000_000, "2"), (2, IN, 1_000_000, "2"), (3, IN, 1_000_000, "2")],
        [(1, IN, 900_000, "1.80"), (2, IN, 1_050_000, "2.10"), (3, IN, 1_050_000, "2.10")],
        [("clock", 1, IN, -100_000, "-0.2"), ("clock", 2, IN, 50_000, "0.1"), ("clock", 3, IN, 50_000, "0.1")],
        "0",
    ),
    "cached billed as fresh": (
        [(1, IN, 600_000, "1.2"), (1, CACHED, 400_000, "0.2")],
        [(1, IN, 1_000_000, "2.00"), (1, CACHED, 0, "0.00")],
        [("class", 1, CACHED, -400_000, "-0.2"), ("class", 1, IN, 400_000, "0.8")],
        "0.6",
    ),
    "missing tokens at another price": (
        [(1, IN, 1_000_000, "2")],
        [(1, IN, 2_000_000, "6.00")],
        [("missing", 1, IN, 1_000_000, "2"), ("price", 1, IN, 0, "2")],
        "4",
    ),
    "opposite errors of two days": (
        [(1, IN, 1_000_000, "2"), (5, IN, 1_000_000, "2")],
        [(1, IN, 1_500_000, "3.00"), (5, IN, 400_000, "0.80")],
        [("missing", 1, IN, 500_000, "1"), ("missing", 5, IN, -600_000, "-1.2")],
        "2.2",
    ),
    "an estimate beside what was billed for it": (
        [(1, IN, 1_000_000, "2"), (1, UNMEASURED, 0, "0.5")],
        [(1, IN, 1_200_000, "2.40")],
        [("missing", 1, IN, 200_000, "0.4"), ("missing", 1, UNMEASURED, 0, "-0.5")],
        "0.1",
    ),
    "reasoning billed with the rest of the output": (
        [(1, OUT, 100_000, "1"), (1, "reasoning", 50_000, "0.5")],
        [(1, OUT, 150_000, "1.50")],
        [],
        "0",
    ),
    "a fee": ([], [(1, "platform_fee", 0, "9.00")], [("missing", 1, "platform_fee", 0, "9")], "9"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_difference_gets_its_kind(name: str) -> None:
    ours, theirs, expected, mismatch = CASES[name]

    found = reconcile(ledger(*ours), invoice(*theirs), places=2)

    assert kinds(found) == expected
    assert found.mismatch == D(mismatch)


CELLS = st.tuples(st.integers(1, 6), st.sampled_from((IN, CACHED, OUT)), st.integers(0, 3_000), st.integers(0, 9_999))


@given(st.lists(CELLS, max_size=14), st.lists(CELLS, max_size=14))
def test_the_residuals_are_exactly_the_difference_of_the_totals(
    ours: list[tuple[int, str, int, int]], theirs: list[tuple[int, str, int, int]]
) -> None:
    left = ledger(*((day, bucket, tokens, f"0.00{cents:04d}7") for day, bucket, tokens, cents in ours))
    right = invoice(*((day, bucket, tokens, f"{cents}e-4") for day, bucket, tokens, cents in theirs))

    found = reconcile(left, right, places=4)

    assert found.invoice_usd == sum((line.cost for line in right), D(0))
    assert found.ledger_usd == sum((amount.cost for amount in left.values()), D(0))
    assert sum((found.total(kind) for kind in KINDS), D(0)) == found.invoice_usd - found.ledger_usd
    tokens = sum(line.tokens for line in right) - sum(amount.tokens for amount in left.values())
    assert sum(one.tokens for one in found.residuals) == tokens


def test_a_whole_month_in_another_zone_is_one_kind() -> None:
    """Each day hands a tenth to the next; the first has nothing from before and the last keeps its own."""
    days = [DAY + timedelta(days=n) for n in range(31)]
    ours = {Cell(day, M, IN): Amount(1000 + n, D(1000 + n) / 500_000) for n, day in enumerate(days)}
    handed = [0, *(100 + n for n in range(30)), 0]
    theirs = [
        Line(day, M, IN, tokens, D(tokens) / 500_000, n)
        for n, day in enumerate(days)
        for tokens in [1000 + n + handed[n] - handed[n + 1]]
    ]

    found = reconcile(ours, theirs, places=6)

    assert {one.kind for one in found.residuals} == {"clock"}
    assert found.mismatch == 0


def test_an_invoice_is_read_whatever_its_columns_are_called() -> None:
    content = b"\xef\xbb\xbfDay,Model_Name,Token_Type,Quantity,Amount,Currency\r\n2025-10-01,m,cached input,7,0.0100,USD\r\n\r\n"

    found = read_invoice("bill.csv", content)

    assert found.lines == (Line(DAY, "m", "cache_read", 7, D("0.01"), 2),)
    assert (found.places, found.is_itemised, found.days("UTC")) == (4, False, (DAY, DAY))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column date, model"),
        (b"date,model,bucket,tokens,cost_usd\n", "it has no line"),
        (b"date,model,bucket,tokens\n2025-10-01,m,input,7\n", "no column cost_usd"),
        (b"date,model,bucket,tokens,cost_usd\n2025-10-32,m,input,7,1\n", "line 2: day"),
        (b"date,model,bucket,tokens,cost_usd\n2025-10-01,m,input,-7,1\n", "line 2: '-7' is not a number of tokens"),
        (b"date,model,bucket,tokens,cost_usd\n2025-10-01,m,input,7,NaN\n", "line 2: 'NaN' is not an amount"),
        (b"date,model,bucket,tokens,cost_usd\n2025-10-01,m\n", "line 2: list index"),
        (b"date,model,bucket,tokens,cost_usd,currency\n2025-10-01,m,input,7,1,EUR\n", "the currency is 'EUR', not USD"),
        (b'{"request_id":"a"}\n', "line 1: 'prompt_tokens'"),
        (
            b'{"request_id":"a","time":"2025-10-01T00:00:00Z","model":"m","prompt_tokens":1,"cached_tokens":2,"completion_tokens":1}',
            "cannot be",
        ),
        (b"\xff\xfe", "it is not UTF-8"),
    ],
)
def test_what_is_no_invoice_is_refused_with_its_lines(content: bytes, says: str) -> None:
    with pytest.raises(BadInvoice) as refused:
        read_invoice("bill.csv", content)

    assert says in str(refused.value)
    assert isinstance(refused.value, InvalidInput)


def test_only_the_first_complaints_are_shown_and_the_rest_counted() -> None:
    rows = b"".join(b"x,m,input,7,1\n" for _ in range(9))

    with pytest.raises(BadInvoice, match="and 4 more"):
        read_invoice("bill.csv", b"date,model,bucket,tokens,cost_usd\n" + rows)
