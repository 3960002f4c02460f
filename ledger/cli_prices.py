"""The price book's commands, and what a price that comes after the fact means for calls that were charged already.

A price with a past `--valid-from` is listed together with its corrections, in one batch: a call.corrected for every call that
costs something else by now, and an adjustment for every month that was closed before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli import PANEL, ValidFrom, stamp, state_of, write
from ledger.errors import NotFound
from ledger.home import Home, existing
from ledger.money import ZERO, text
from ledger.output import DEFAULT_HOME, AsOfOption, Format, FormatOption, HomeOption, say, show

if TYPE_CHECKING:
    from ledger.corrections import Correction
    from ledger.prices import PriceBook
    from ledger.projections import State

app = typer.Typer(no_args_is_help=True, add_completion=False)
price = typer.Typer(no_args_is_help=True, help="The dated price book.")
app.add_typer(price, name="price", rich_help_panel=PANEL)
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and record nothing.")]


@price.command("list")
def price_list(
    home: HomeOption = DEFAULT_HOME,
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    as_of: AsOfOption = None,
    form: FormatOption = Format.table,
) -> None:
    """The price book: USD per million tokens."""
    rows = [
        {
            "price_id": p.price_id,
            "provider": p.provider,
            **{f"{bucket}_usd": text(rate) for bucket, rate in p.rates._asdict().items()},
            "valid_from": f"{p.valid_from:%Y-%m-%d %H:%M}Z",
            "valid_to": None if p.valid_to is None else f"{p.valid_to:%Y-%m-%d %H:%M}Z",
            "source": p.source,
        }
        for name, prices in sorted(state_of(home, as_of).prices.by_model.items())
        for p in prices
        if model in (None, name)
    ]
    show(rows, form, empty="No price listed for that.")


@price.command("add")
def price_add(
    context: typer.Context,
    model: str,
    input: Annotated[str, typer.Option(help="USD per million input tokens.")],
    output: Annotated[str, typer.Option(help="USD per million output tokens.")],
    source: Annotated[str, typer.Option(help="Where the price was read.")],
    home: HomeOption = DEFAULT_HOME,
    cache_read: Annotated[
        str | None, typer.Option(help="USD per million cached input tokens; default: as input.")
    ] = None,
    provider: Annotated[str, typer.Option(help="Who bills it.")] = "global_api",
    valid_from: ValidFrom = None,
    valid_to: Annotated[
        str | None, typer.Option(metavar="DATE", help="When it ends; default: at the next price.")
    ] = None,
    dry_run: DryRun = False,
    form: FormatOption = Format.table,
) -> None:
    """List a price, like: halfpenny price add mistralai/Mistral-Small --input 0.15 --output 0.60 --source 'price page'.

    With a past --valid-from, calls that cost something else by now are corrected: those of closed months too, which the
    next month tells as an adjustment.
    """
    from ledger import admin  # noqa: PLC0415
    from ledger.corrections import batch  # noqa: PLC0415
    from ledger.prices import PriceBook, moment_of  # noqa: PLC0415
    from ledger.projections import check  # noqa: PLC0415

    at, now = existing(Path(home)), stamp()
    state = state_of(home)
    added = admin.new_price(
        model,
        taken=[p.price_id for p in state.prices.by_model.get(model, ())],
        provider=provider,
        input=input,
        output=output,
        cache_read=cache_read,
        valid_from=now.now if valid_from is None else moment_of(valid_from),
        valid_to=valid_to,
        source=source,
    )
    listed = admin.price_listed(now, added)
    check(state, listed)
    book = PriceBook()
    for known in (*(p for prices in state.prices.by_model.values() for p in prices), added):
        book.add(known)
    found: tuple[Correction, ...] = ()
    position = state.position
    if added.valid_from < now.now:
        found, position = corrections_of(at, book, model, added.valid_from)
    _tell(state, found, form, is_recorded=not dry_run)
    if dry_run:
        return
    if found:
        reason = f"{added.price_id} was listed after the fact: {source}"[:2000]
        head, *rest = batch(
            state, found, head_id=stamp().event_id, now=now.now, subject=added.price_id, up_to=position, reason=reason
        )
        write(context, at, head, listed, *rest)
    else:
        write(context, at, listed)
    say(f"Price {added.price_id} listed: {input} in, {output} out, USD per million tokens.")
    _tell_open(state, model, added.valid_from)


@price.command("correct")
def price_correct(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="Only this model; default: all.")] = None,
    home: HomeOption = DEFAULT_HOME,
    dry_run: DryRun = False,
    form: FormatOption = Format.table,
) -> None:
    """Correct every call that was charged at another price than the book's, like one that was in flight as a price came late."""
    from ledger.corrections import BOOK, batch  # noqa: PLC0415

    at, now = existing(Path(home)), stamp()
    state = state_of(home)
    if model is not None and model not in state.prices.by_model:
        raise NotFound("price of", model, "See the models with: halfpenny price list.")
    found, position = corrections_of(at, state.prices, model, None)
    _tell(state, found, form, is_recorded=not dry_run)
    if found and not dry_run:
        reason = "calls were charged at other prices than the book's"
        subject = BOOK if model is None else state.prices.by_model[model][-1].price_id
        write(
            context,
            at,
            *batch(state, found, head_id=now.event_id, now=now.now, subject=subject, up_to=position, reason=reason),
        )
    elif not found:
        say("Every call costs what the price book says.")


def corrections_of(
    home: Home, prices: PriceBook, model: str | None, since: datetime | None
) -> tuple[tuple[Correction, ...], int]:
    """The calls that cost something else at these prices, and the last event that was looked at. Errors: Damage.

    Shapes: `since` is the earliest begin of a call that can differ; sealed segments that end before it are passed over.
    """
    from ledger import manifest as manifests  # noqa: PLC0415
    from ledger.corrections import Repricing  # noqa: PLC0415
    from ledger.disk import REAL  # noqa: PLC0415
    from ledger.segments import read_all  # noqa: PLC0415

    after = 0
    for segment in manifests.load(home, REAL).files:
        if since is None or segment.max_time >= since:
            break
        after = segment.last_sequence
    looking = Repricing(prices, model, position=after)
    for event in read_all(home, after=after):
        looking.take(event)
    return looking.corrections(), looking.position


def _tell(state: State, found: Sequence[Correction], form: Format, *, is_recorded: bool) -> None:
    """The difference by client, month and pair of prices."""
    from ledger.closings import position_of  # noqa: PLC0415

    if not found:
        return
    groups: dict[tuple[str, str, str, str], list[Correction]] = {}
    for one in found:
        key = (one.settled.client_id or "", one.settled.period, one.before.price_id, one.price.price_id)
        groups.setdefault(key, []).append(one)
    rows: list[dict[str, object]] = []
    for (client, period, before, after), group in sorted(groups.items()):
        is_closed = position_of(state, client, period) is not None
        rows.append(
            {
                "client_id": client,
                "month": period,
                "price_before": before,
                "price_now": after,
                "calls": len(group),
                "of_these_estimated": sum(one.charged is None for one in group),
                "billed_usd": text(_sum(one.before.cost for one in group)),
                "now_usd": text(_sum(one.cost for one in group)),
                "difference_usd": text(_sum(one.difference for one in group)),
                "told": "as next month's adjustment" if is_closed else "in its own report",
            }
        )
    show(rows, form)
    total = text(_sum(one.difference for one in found))
    done = "corrected" if is_recorded else "would be corrected; nothing was recorded"
    say(f"{len(found)} calls {done}: {total} USD.")


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, ZERO)


def _tell_open(state: State, model: str, valid_from: datetime) -> None:
    held = sum(hold.request_model == model and hold.time >= valid_from for hold in state.holds.values())
    if held:
        say(
            f"{held} calls in flight keep the price they were held at. When they have ended: halfpenny price correct {model}"
        )
