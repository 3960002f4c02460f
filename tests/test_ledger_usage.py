"""Usage: three-valued counts, and each token in exactly one bucket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.usage import BUCKETS, UnknownUsage, Usage, read_usage

CHAT = {
    "prompt_tokens": 24000,
    "completion_tokens": 4300,
    "total_tokens": 28300,
    "prompt_tokens_details": {"cached_tokens": 20000, "cache_write_tokens": 1000, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 300, "accepted_prediction_tokens": 0},
}
RESPONSES = {
    "input_tokens": 24000,
    "output_tokens": 4300,
    "input_tokens_details": {"cached_tokens": 20000, "cache_write_tokens": 1000},
    "output_tokens_details": {"reasoning_tokens": 300},
}


@pytest.mark.parametrize("reported", [CHAT, RESPONSES], ids=["chat completions", "responses"])
def test_both_of_openais_shapes_are_read(reported: object) -> None:
    usage = read_usage(reported)

    assert usage == Usage(
        input_tokens=24000, output_tokens=4300, cache_read_tokens=20000, cache_write_tokens=1000, reasoning_tokens=300
    )
    assert isinstance(usage, Usage)
    # 24000 - 20000 - 1000 = 3000 uncached; 4300 - 300 = 4000 plain
    assert dict(zip(BUCKETS, usage.buckets, strict=True)) == {
        "uncached_input": 3000,
        "cache_read": 20000,
        "cache_write": 1000,
        "plain_output": 4000,
        "reasoning": 300,
    }


def test_absent_zero_and_positive_are_three_answers() -> None:
    counts = {"prompt_tokens": 10, "completion_tokens": 5}

    absent = read_usage(counts)
    zero = read_usage({**counts, "prompt_tokens_details": {"cached_tokens": 0}})
    positive = read_usage({**counts, "prompt_tokens_details": {"cached_tokens": 4}})

    assert isinstance(absent, Usage)
    assert isinstance(zero, Usage)
    assert isinstance(positive, Usage)
    assert (absent.cache_read_tokens, zero.cache_read_tokens, positive.cache_read_tokens) == (None, 0, 4)
    assert absent.buckets == zero.buckets == (10, 0, 0, 5, 0)
    assert positive.buckets == (6, 4, 0, 5, 0)


def test_zero_reported_is_zero_and_not_unknown() -> None:
    assert read_usage({"prompt_tokens": 0, "completion_tokens": 0}) == Usage(input_tokens=0, output_tokens=0)


@pytest.mark.parametrize(
    ("reported", "why"),
    [
        (None, "absent"),
        ({}, "absent"),
        ({"prompt_tokens": 10}, "absent"),
        ({"prompt_tokens": None, "completion_tokens": 5}, "absent"),
        ({"total_tokens": 15}, "absent"),
        ("10 tokens", "malformed"),
        ([10, 5], "malformed"),
        (17, "malformed"),
        ({"prompt_tokens": "10", "completion_tokens": 5}, "malformed"),
        ({"prompt_tokens": 10.0, "completion_tokens": 5}, "malformed"),
        ({"prompt_tokens": True, "completion_tokens": 5}, "malformed"),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": [4]}, "malformed"),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": "4"}}, "malformed"),
        ({"prompt_tokens": -1, "completion_tokens": 5}, "negative"),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -4}}, "negative"),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 11}}, "inconsistent"),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 5},
            },
            "inconsistent",
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 6}},
            "inconsistent",
        ),
    ],
)
def test_counts_that_cannot_be_taken_say_why(reported: object, why: str) -> None:
    assert read_usage(reported) == UnknownUsage(why)


@pytest.mark.parametrize(("count", "why"), [(100_000_000, None), (100_000_001, "excessive"), (10**30, "excessive")])
def test_a_count_too_large_to_be_charged_is_unknown(count: int, why: str | None) -> None:
    """It was once taken, and its cost did not fit DECIMAL(18,12): the event could not be read back."""
    usage = read_usage({"prompt_tokens": count, "completion_tokens": 1})

    assert usage == (Usage(input_tokens=count, output_tokens=1) if why is None else UnknownUsage(why))


@given(st.data())
def test_buckets_sum_to_the_totals_and_none_is_negative(data: st.DataObject) -> None:
    total_in, total_out = data.draw(st.integers(0, 10**8)), data.draw(st.integers(0, 10**8))
    read = data.draw(st.none() | st.integers(0, total_in))
    write = data.draw(st.none() | st.integers(0, total_in - (read or 0)))
    reasoning = data.draw(st.none() | st.integers(0, total_out))

    usage = read_usage(
        {
            "prompt_tokens": total_in,
            "completion_tokens": total_out,
            "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": write},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )

    assert isinstance(usage, Usage)
    assert sum(usage.buckets[:3]) == total_in
    assert sum(usage.buckets[3:]) == total_out
    assert min(usage.buckets) >= 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*CHAT, *RESPONSES, "cached_tokens"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_nothing_a_provider_sends_raises(reported: object) -> None:
    assert isinstance(read_usage(reported), Usage | UnknownUsage)
