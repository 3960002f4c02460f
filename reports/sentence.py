"""The one sentence a client reads: how much was done, for how much, and what it saved.

Nothing in it assumes that the month went well or that one arm is dearer than the other.
"""

from __future__ import annotations

from reports.display import Style, model_name
from reports.model import Price, Quality, Totals

Part = tuple[str, bool]  # words, and whether they stand out


def sentence(totals: Totals, quality: Quality, currency: str, baseline: Price | None) -> tuple[Part, ...]:
    """The headline in parts; joined they are the sentence."""
    style = Style(currency)
    if not totals.calls:
        return (("No call was made in this month, and nothing was spent.", False),)
    return (*_spent(totals, style), *_saved(totals, style, baseline), *_edited(quality, style))


def _spent(totals: Totals, style: Style) -> tuple[Part, ...]:
    if totals.tickets:
        done = (style.plural(totals.tickets, "ticket", "tickets"), True)
        return (
            ("Your support desk answered ", False),
            done,
            (" with AI drafts for ", False),
            (style.money(totals.spend), True),
            (". ", False),
        )
    done = (style.plural(totals.replies, "reply", "replies"), True)
    return (
        ("Your support desk received ", False),
        done,
        (" for ", False),
        (style.money(totals.spend), True),
        (". ", False),
    )


def _saved(totals: Totals, style: Style, baseline: Price | None) -> tuple[Part, ...]:
    if baseline is None or totals.baseline is None or totals.saved is None:
        return (("What this would have cost before is not known, since no baseline is set. ", False),)
    before = f"On {model_name(baseline.model)} the same work would have cost {style.money(totals.baseline)}: "
    if totals.saved > 0:
        amount = f"{style.money(totals.saved)} ({style.percent(totals.saved_share)})"
        return ((before, False), ("you saved ", False), (amount, True), (". ", False))
    if totals.saved < 0:
        more = -totals.saved
        return ((before, False), (f"that is {style.money(more)} less than was spent, so nothing was saved. ", False))
    return ((before, False), ("exactly what was spent. ", False))


def _edited(quality: Quality, style: Style) -> tuple[Part, ...]:
    if quality.edit_rate is None:
        return (("No edits were reported, so how good the drafts were is not known.", False),)
    return (("People changed ", False), (style.percent(quality.edit_rate), True), (" of the drafts’ text.", False))
