"""The commands that end calls of unknown end by hand; an invoice ends them with `halfpenny reconcile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli import stamp, write
from ledger.errors import InvalidInput
from ledger.home import existing
from ledger.output import DEFAULT_HOME, Format, FormatOption, HomeOption, say, show

app = typer.Typer(no_args_is_help=True, add_completion=False)
orphan = typer.Typer(no_args_is_help=True, help="Calls whose end is unknown after a crash.")
app.add_typer(orphan, name="orphan", rich_help_panel="The log")

AttemptOption = Annotated[int | None, typer.Option(min=1, help="Which attempt, where several are open.")]


@orphan.command("list")
def orphan_list(home: HomeOption = DEFAULT_HOME, form: FormatOption = Format.table) -> None:
    """Every call whose end is unknown; each counts at its full hold until it is settled or voided."""
    from ledger.store import read_state  # noqa: PLC0415 - --help need not load it

    rows = [
        {
            "call_id": one.subject,
            "attempt": one.attempt,
            "client_id": one.client_id,
            "period": one.period,
            "request_model": one.request_model,
            "hold_usd": one.hold_usd,
            "reserved_at": f"{one.reserved_at:%Y-%m-%d %H:%M:%S}Z",
        }
        for one in read_state(existing(Path(home))).orphans.values()
    ]
    show(rows, form, empty="No call of unknown end.")


@orphan.command("settle")
def orphan_settle(
    context: typer.Context,
    call_id: str,
    input_tokens: Annotated[int | None, typer.Option(min=0, help="Tokens in, as billed, cached ones too.")] = None,
    output_tokens: Annotated[int | None, typer.Option(min=0, help="Tokens out, as billed, reasoning too.")] = None,
    cached_tokens: Annotated[int | None, typer.Option(min=0, help="Of the tokens in: read from a cache.")] = None,
    at_hold: Annotated[bool, typer.Option("--at-hold", help="Nobody can know: it cost its whole hold.")] = False,
    model: Annotated[str | None, typer.Option(help="The model that answered, if another one did.")] = None,
    attempt: AttemptOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Settle a call that was billed, like: halfpenny orphan settle CALL --input-tokens 812 --output-tokens 240."""
    from ledger.orphans import orphan_of, rates_at, settled, was_streamed  # noqa: PLC0415
    from ledger.segments import read_all  # noqa: PLC0415
    from ledger.store import read_state  # noqa: PLC0415
    from ledger.usage import Usage  # noqa: PLC0415

    if at_hold == (input_tokens is not None and output_tokens is not None) or (
        at_hold and (input_tokens, output_tokens, cached_tokens) != (None, None, None)
    ):
        raise InvalidInput(
            "Say what was billed with --input-tokens and --output-tokens, or --at-hold where nobody knows."
        )
    usage = None
    if input_tokens is not None and output_tokens is not None:
        if (cached_tokens or 0) > input_tokens:
            raise InvalidInput(f"{cached_tokens} cached tokens are more than the {input_tokens} tokens in.")
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached_tokens)
    at = existing(Path(home))
    state = read_state(at)
    found = orphan_of(state, call_id, attempt)
    served = model or found.request_model
    event = settled(
        found,
        usage,
        rates_at(state.prices, served, found),
        event_id=stamp().event_id,
        model=served,
        at=found.reserved_at,
        request_stream=was_streamed(read_all(at), found),
    )
    write(context, at, event)
    say(
        f"Call {call_id} attempt {found.attempt} is settled at {event.cost_usd} USD; it was held at {found.hold_usd} USD."
    )


@orphan.command("void")
def orphan_void(
    context: typer.Context,
    call_id: str,
    reason: Annotated[str, typer.Option(help="How you know that it was not billed.")],
    attempt: AttemptOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Void a call that provably was not billed, like: halfpenny orphan void CALL --reason "not on the provider's list"."""
    from ledger.orphans import orphan_of, voided  # noqa: PLC0415
    from ledger.store import read_state  # noqa: PLC0415

    if not reason.strip():
        raise InvalidInput("The reason is empty. Say how you know that the call was not billed.")
    at = existing(Path(home))
    found = orphan_of(read_state(at), call_id, attempt)
    made = stamp()
    write(context, at, voided(found, event_id=made.event_id, at=made.now, reason=reason))
    say(f"Call {call_id} attempt {found.attempt} is voided; {found.hold_usd} USD came free.")
