"""How much of a draft was changed; long texts are measured beside the loop and cannot hold it up."""

from __future__ import annotations

import asyncio

import pytest

from router import edit_ratio as module
from router.edit_ratio import TooLong, edit_ratio, ratio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("draft", "final", "expected"),
    [
        ("abcd", "abcd", 0.0),
        ("abcd", "abce", 0.25),
        ("abcd", "", 1.0),
        ("", "", 0.0),
        ("abcd", "wxyz", 1.0),
        ("abc", "abcdef", 0.5),
        ("Grüße", "Grusse", 0.5),
        ("kitten", "sitting", 0.428571),
    ],
)
def test_the_ratio_is_the_distance_over_the_longer_text(draft: str, final: str, expected: float) -> None:
    assert ratio(draft, final) == expected


@pytest.mark.anyio
async def test_long_texts_are_measured_in_a_child_and_say_the_same() -> None:
    draft, final = "abcdefghij" * 2000, "abcdefghix" * 2000

    measuring = asyncio.create_task(edit_ratio(draft, final))
    steps = 0
    while not measuring.done():
        await asyncio.sleep(0.001)
        steps += 1

    assert await measuring == 0.1
    assert steps > 5  # the loop went on meanwhile


@pytest.mark.anyio
async def test_texts_without_bound_are_refused_before_they_are_compared() -> None:
    with pytest.raises(TooLong):
        await edit_ratio("a" * 500_000, "b" * 500_000)


@pytest.mark.anyio
async def test_a_comparison_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHILD_S", 0.0)

    with pytest.raises(TooLong):
        await edit_ratio("ab" * 10_000, "cd" * 10_000)


@pytest.mark.anyio
async def test_two_long_equal_texts_need_no_child() -> None:
    assert await edit_ratio("a" * 5_000_000, "a" * 5_000_000) == 0.0
