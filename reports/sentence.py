"""The one sentence a client reads: how much was done, for how much, and what it saved.

Nothing in it assumes that the month went well or that one arm is dearer than the other, and the edit rate is said to
have fallen or risen only when the interval of the difference leaves out no change.
"""

from __future__ import annotations

import re

from reports.display import Style, model_name
from reports.model import Previous, Price, Quality, Totals

Part = tuple[str, bool]  # words, and whether they stand out


def sentence(
    totals: Totals,
    quality: Quality,
    style: Style,
    baseline: Price | None,
    previous: Previous | None = None,
    from_cache: int = 0,
) -> tuple[Part, ...]:
    """The headline in parts; joined they are the sentence. `from_cache` replies were served beside those that were made."""
    if not totals.calls and not from_cache:
        return ((style.say("headline.nothing"), False),)
    return (
        *_spent(totals, style, totals.replies + from_cache),
        *_saved(totals, style, baseline),
        *_edited(quality, style, previous),
    )


def parts(template: str, **values: str) -> tuple[Part, ...]:
    """A phrase whose values stand out."""
    found = []
    for place, piece in enumerate(re.split(r"\{(\w+)\}", template)):
        if piece:
            found.append((values[piece], True) if place % 2 else (piece, False))
    return tuple(found)


def _spent(totals: Totals, style: Style, served: int) -> tuple[Part, ...]:
    noun, count = ("ticket", totals.tickets) if totals.tickets else ("reply", served)
    template = _template(style, "headline.tickets" if totals.tickets else "headline.replies")
    return parts(template, done=style.plural(count, noun), spend=style.money(totals.spend))


def _saved(totals: Totals, style: Style, baseline: Price | None) -> tuple[Part, ...]:
    if baseline is None or totals.baseline is None or totals.saved is None:
        return ((style.say("headline.no_baseline"), False),)
    before = style.say("headline.before", model=model_name(baseline.model), amount=style.money(totals.baseline))
    if totals.saved > 0:
        amount = f"{style.money(totals.saved)} ({style.percent(totals.saved_share)})"
        is_sure = totals.saved_low is None or totals.saved_low > 0
        template = _template(style, "headline.saved" if is_sure else "headline.saved_unsure")
        return ((before, False), *parts(template, amount=amount))
    if totals.saved < 0:
        return ((before, False), (style.say("headline.lost", amount=style.money(-totals.saved)), False))
    return ((before, False), (style.say("headline.even"), False))


def _edited(quality: Quality, style: Style, previous: Previous | None) -> tuple[Part, ...]:
    if quality.edit_rate is None:
        return ((style.say("headline.no_edits"), False),)
    rate = style.percent(quality.edit_rate)
    if previous is None or previous.verdict is None:
        return parts(_template(style, "headline.edited"), rate=rate)
    template = _template(style, f"headline.{previous.verdict}").replace("{month}", style.month_name(previous.first_day))
    return parts(template.replace("{then}", style.percent(previous.edit_rate)), rate=rate)


def _template(style: Style, key: str) -> str:
    return style.say.template(key)
