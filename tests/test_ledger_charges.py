"""Charges: numbers worked out on paper, in the units of the price list."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.charges import Charge, charge, worst_case
from ledger.prices import Rates, rates
from ledger.usage import Usage

TICKET = Usage(input_tokens=24_000, output_tokens=4_300)


@pytest.mark.parametrize(
    ("per_mtok_in", "per_mtok_out", "input_line", "output_line", "total"),
    [
        ("0.40", "2.00", "0.0096", "0.0086", "0.0182"),
        ("2.00", "6.00", "0.048", "0.0258", "0.0738"),
        ("2.50", "10.00", "0.06", "0.043", "0.103"),  # GPT-4o, the old bot
        ("0.50", "1.50", "0.012", "0.00645", "0.01845"),  # Large 3, dearer than Medium in, cheaper out
        ("0.27", "1.10", "0.00648", "0.00473", "0.01121"),
    ],
)
def test_the_freelancers_ticket_costs_what_the_price_list_says(
    per_mtok_in: str, per_mtok_out: str, input_line: str, output_line: str, total: str
) -> None:
    found = charge(TICKET, rates(per_mtok_in, per_mtok_out))

    zero = Decimal(0)
    assert found == Charge((Decimal(input_line), zero, zero, Decimal(output_line), zero), Decimal(total))


def test_cached_input_is_charged_once_at_its_own_rate() -> None:
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=200_000,
        cache_read_tokens=600_000,
        cache_write_tokens=100_000,
        reasoning_tokens=50_000,
    )

    found = charge(usage, rates("2", "8", cache_read="0.5", cache_write="2.5", reasoning="4"))

    # 300,000 at 2; 600,000 at 0.50; 100,000 at 2.50; 150,000 at 8; 50,000 at 4
    assert found.lines == (Decimal("0.6"), Decimal("0.3"), Decimal("0.25"), Decimal("1.2"), Decimal("0.2"))
    assert found.total == Decimal("2.55")


def test_a_rate_that_is_not_given_is_the_full_one() -> None:
    cached = Usage(input_tokens=24_000, output_tokens=4_300, cache_read_tokens=24_000, reasoning_tokens=4_300)

    assert charge(cached, rates("0.40", "2.00")).total == Decimal("0.0182")


def test_a_free_bucket_costs_nothing_and_a_token_of_a_millionth_is_exact() -> None:
    one = Usage(input_tokens=1, output_tokens=0)

    assert charge(one, rates("0", "0")).total == Decimal(0)
    assert charge(one, rates("0.000001", "0")).total == Decimal("0.000000000001")


def test_a_month_of_the_old_bot_and_of_the_split_come_near_the_freelancers_figures() -> None:
    # 7,750 tickets: 0.103 each is 798.25; 65 % at 0.0182 and 35 % at 0.0738 is 5037.5 x 0.0182 + 2712.5 x 0.0738
    gpt4o, medium, large = (charge(TICKET, rates(*r)).total for r in (("2.50", "10"), ("0.40", "2"), ("2", "6")))

    assert 7_750 * gpt4o == Decimal("798.25")
    assert Decimal("5037.5") * medium + Decimal("2712.5") * large == Decimal("291.865")


def test_the_worst_case_takes_the_dearest_tier_of_either_side() -> None:
    found = worst_case(
        rates("2", "8", cache_write="2.5", reasoning="12"), input_tokens_at_most=100_000, output_tokens_at_most=4_096
    )

    # 100,000 at 2.50 is 0.25; 4,096 at 12 is 0.049152
    assert found == Decimal("0.299152")


COUNTS = st.integers(0, 100_000_000)
RATE = st.decimals(min_value=0, max_value=999, places=6)


@given(st.data(), st.builds(Rates, RATE, RATE, RATE, RATE, RATE))
def test_a_charge_is_the_sum_of_its_lines_exact_and_never_above_the_worst_case(
    data: st.DataObject, prices: Rates
) -> None:
    total_in, total_out = data.draw(COUNTS), data.draw(COUNTS)
    read = data.draw(st.integers(0, total_in))
    reasoning = data.draw(st.integers(0, total_out))
    usage = Usage(input_tokens=total_in, output_tokens=total_out, cache_read_tokens=read, reasoning_tokens=reasoning)

    found = charge(usage, prices)

    # whole numbers of 1e-12 USD: tokens times millionths of a dollar per million tokens
    micro = [int(rate * 1_000_000) for rate in prices]
    exact = (total_in - read) * micro[0] + read * micro[1] + (total_out - reasoning) * micro[3] + reasoning * micro[4]
    assert found.total == Decimal(exact).scaleb(-12)
    assert sum(found.lines, Decimal(0)) == found.total
    assert found.total <= worst_case(prices, input_tokens_at_most=total_in, output_tokens_at_most=total_out)
