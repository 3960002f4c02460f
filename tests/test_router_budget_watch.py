"""Warnings about budgets: at their thresholds, once, for hard and soft caps alike."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from ledger import admin
from ledger.events import BudgetWarned, CallRefused, CallSettled
from ledger.money import text
from tests.served_home import START, Served, simulated


def cap(running: Served, amount: str, *, hard: bool, made: str = "cap") -> None:
    stamp = admin.Stamp(made, START)
    running.ledger.append_now(admin.budget_set(stamp, "acme", amount, hard=hard, valid_from="2025-01-01"))


async def cost_of_one(running: Served) -> str:
    await running.chat()
    (settled,) = running.events(CallSettled)
    cost: str = settled.cost_usd
    return cost


@pytest.mark.anyio
async def test_a_soft_cap_warns_at_each_threshold_once_and_refuses_nothing(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        cost = await cost_of_one(running)
        # two calls are the whole of the cap: the second reaches 80 % and 100 % at once
        settled = running.events(CallSettled)[0]
        cap(running, text(2 * settled_cost(settled)), hard=False)
        answers = await asyncio.gather(*(running.chat() for _ in range(8)))

        assert {status for status, _, _ in answers} == {200}
        warned = running.events(BudgetWarned)
        assert [(event.threshold, event.hard, event.subject) for event in warned] == [
            (0.8, False, "acme"),
            (1.0, False, "acme"),
        ]
        assert warned[0].settled_usd == text(2 * settled_cost(settled))
        assert (running.events(CallRefused), cost) == ([], settled.cost_usd)


@pytest.mark.anyio
async def test_a_raised_cap_warns_anew(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings="budget.warn_at = [1.0]") as running:
        await cost_of_one(running)
        one = settled_cost(running.events(CallSettled)[0])
        cap(running, text(2 * one), hard=False)
        await running.chat()
        cap(running, text(4 * one), hard=False, made="raised")
        await running.chat()
        assert len(running.events(BudgetWarned)) == 1
        await running.chat()

        assert [event.cap_usd for event in running.events(BudgetWarned)] == [text(2 * one), text(4 * one)]


@pytest.mark.anyio
async def test_holds_alone_warn_of_nothing(tmp_path: Path) -> None:
    async with simulated(tmp_path, caps={"whole": "0.05"}) as running:
        # the hold of 20000 tokens out is four fifths of the cap, the cost a small part of it
        assert (await running.chat(max_tokens=20_000))[0] == 200

        assert running.events(BudgetWarned) == []


def settled_cost(event: CallSettled) -> Decimal:
    return Decimal(event.cost_usd)
