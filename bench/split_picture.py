"""A picture of a month: what share of tickets the premium arm answered each day, and how the budget went.

    python -m bench.split_picture HOME CLIENT MONTH OUT.png

Read from the log alone, in the client's own days.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from ledger.budgets import period_named, zone
from ledger.events import CallReserved, CallSettled, SplitShifted
from ledger.home import existing
from ledger.segments import read_all
from ledger.store import read_state


def rows(home: Path, client_id: str, month: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Shares a day, class and arm; spend after each day beside an even pace; the cap."""
    at = existing(home)
    state = read_state(at)
    zone_name = state.client(client_id).zone
    period, local = period_named(month, zone_name), zone(zone_name)
    drafts: Counter[tuple[int, str, str]] = Counter()
    spent: defaultdict[int, float] = defaultdict(float)
    lambdas: dict[int, float] = {}
    for event in read_all(at):
        if event.client_id != client_id or getattr(event, "period", None) != month:
            continue
        day = event.time.astimezone(local).day
        if isinstance(event, CallReserved) and event.attempt == 1 and event.arm and event.ticket_class:
            drafts[day, event.ticket_class, event.arm] += 1
        elif isinstance(event, CallSettled):
            spent[day] += float(event.cost_usd)
        elif isinstance(event, SplitShifted) and event.lambda_ is not None:
            lambdas[day] = event.lambda_
    cap = float(state.account("client", client_id, month, zone_name).cap or 0)
    days = (period.end.astimezone(local) - period.start.astimezone(local)).days or 31
    shares = []
    for day in range(1, days + 1):
        for name in ("simple", "complex"):
            total = sum(count for (at_day, of, _), count in drafts.items() if (at_day, of) == (day, name))
            premium = drafts[day, name, "premium"]
            if total:
                shares.append({"day": day, "class": name, "share": premium / total, "tickets": total})
    money, total_usd = [], 0.0
    for day in range(1, days + 1):
        total_usd += spent[day]
        money.append({"day": day, "usd": total_usd, "line": "spent"})
        money.append({"day": day, "usd": cap * day / days, "line": "an even pace"})
    return shares, money, cap


def main() -> None:
    """Draw it."""
    import altair as alt  # noqa: PLC0415 - heavy, and only for the picture
    import vl_convert  # noqa: PLC0415

    home, client_id, month, out = sys.argv[1:]
    shares, money, cap = rows(Path(home), client_id, month)
    colours = alt.Scale(range=["#1f6f8b", "#c8553d"])
    upper = (
        alt.Chart(alt.Data(values=shares), width=560, height=170, title=f"Share of tickets to premium, {month}")
        .mark_line(point=True)
        .encode(
            x=alt.X("day:Q", title=None, scale=alt.Scale(domain=[1, 31])),
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%")),
            color=alt.Color("class:N", scale=colours, title=None),
        )
    )
    lower = (
        alt.Chart(alt.Data(values=money), width=560, height=170, title=f"USD spent of a hard cap of {cap:g}")
        .mark_line()
        .encode(
            x=alt.X("day:Q", title="day of the month", scale=alt.Scale(domain=[1, 31])),
            y=alt.Y("usd:Q", title=None),
            strokeDash=alt.StrokeDash("line:N", title=None),
        )
    )
    chart = alt.vconcat(upper, lower).resolve_scale(color="independent")
    Path(out).write_bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=1.3))


if __name__ == "__main__":
    main()
