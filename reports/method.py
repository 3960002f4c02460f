"""What a reader must know to trust or doubt the figures: the report's method, in sentences."""

from __future__ import annotations

from reports.display import Style, model_name
from reports.model import Report

Note = tuple[str, str]  # what it is about, and what there is to say


def notes(report: Report, style: Style) -> tuple[Note, ...]:
    """The method in the order in which the figures are read; what does not apply is left out."""
    found = (
        _baseline(report, style),
        _spend(report),
        _estimates(report, style),
        (
            "Rounding",
            "Sums are exact to twelve decimals. Each printed line is rounded half up once, and totals add the printed lines.",
        ),
        _reply(report),
        _quality(report),
        _durations(report, style),
        _currency(report, style),
        _days(report, style),
        (
            "Line items",
            f"SHA-256 over all line items (day, model, purpose, arm, bucket, tokens, cost): {report.lines_sha256}.",
        ),
    )
    return tuple(note for note in found if note[1])


def _baseline(report: Report, style: Style) -> Note:
    price = report.baseline
    if price is None:
        return ("Baseline", "None is set, so no saving is stated. Set one with: halfpenny baseline set.")
    model = model_name(price.model)
    left_out = report.unknowns.calls_without_baseline
    omitted = (
        f" {style.plural(left_out, 'call is', 'calls are')} not compared: without usage, judging, or shadow runs."
        if left_out
        else ""
    )
    return (
        "Baseline",
        f"Method “repriced”: the tokens of every measured call at the frozen prices {price.price_id} ({style.rate(price.uncached_input)} USD in, "
        f"{style.rate(price.cache_read)} cached, {style.rate(price.plain_output)} out per million tokens). Classification is included, since the old setup "
        f"paid {model} for it too. Tokens are counted by the tokenisers of the models that answered; {model} would count somewhat "
        f"differently, and by how much is not measured here.{omitted}",
    )


def _spend(report: Report) -> Note:
    counted = (
        " Where it reported none we counted them, or took the worst case." if report.unknowns.counted_calls else ""
    )
    return (
        "Spend",
        "Tokens as the provider reported them, times the price frozen when the call was made, by the model that answered. Failed "
        f"and repeated calls are included.{counted}",
    )


def _estimates(report: Report, style: Style) -> Note:
    u = report.unknowns
    if not (u.estimated_calls or u.open_holds or u.orphaned_calls):
        return ("Estimates", "None: every call in the spend has its reported usage.")
    return (
        "Estimates",
        "Before each call its worst case is held: every byte sent as a token, and the longest reply allowed. A call that came back "
        f"without usage is charged its hold ({style.plural(u.estimated_calls, 'call', 'calls')}, {style.money(u.estimated)}), so the spend "
        "is rather over- than understated; holds without an end are not in the spend and count against the budget.",
    )


def _reply(report: Report) -> Note:
    hourly = (
        ""
        if report.accepted_reply.edit_usd_per_hour
        else " The hourly rate is not set, so the part for editing is not known."
    )
    return (
        "Cost per accepted reply",
        "Everything spent in the month plus all reported editing time at the hourly rate, over the replies that were sent as drafted "
        f"or edited. Rewritten and discarded drafts count as cost and not as replies.{hourly}",
    )


def _quality(report: Report) -> Note:
    if not report.quality.edits:
        return ("Quality", "No edits were reported.")
    scored = " Coherence is the mean of recorded rubric scores, of 100." if report.quality.coherence_scores else ""
    return (
        "Quality",
        "Edit rate is the mean over drafts of the characters changed (normalised Levenshtein distance); its interval is the normal "
        f"approximation, 95%. Drafts count in the week in which they were written.{scored}",
    )


def _durations(report: Report, style: Style) -> Note:
    simulated = report.unknowns.simulated_durations
    if not simulated:
        return (
            "Durations",
            "From the request to the provider to the end of its reply; p50 and p95 are durations that occurred.",
        )
    return (
        "Durations",
        f"Simulated, not measured, for {style.plural(simulated, 'reply', 'replies')}: the provider was a simulator that answered at "
        "once and stated how long it would have taken.",
    )


def _currency(report: Report, style: Style) -> Note:
    money = report.currency
    if money.rate is None or money.rate_valid_from is None:
        return ("Currency", "Prices and figures are in USD.")
    base, _, quote = (money.pair or "").partition("/")
    return (
        "Currency",
        f"Prices are in USD; each printed line is converted once at 1 {base} = {money.rate} {quote}, recorded for "
        f"{style.full_day(money.rate_valid_from.date())}, source: {money.rate_source}.",
    )


def _days(report: Report, style: Style) -> Note:
    status = "This month is not closed, so the figures may still change. " if report.status == "draft" else ""
    return (
        "Days",
        f"{status}The month runs from {style.full_day(report.period.first_day)} to {style.full_day(report.period.last_day)} in "
        f"{report.client.zone}; a call belongs to the day on which it began.",
    )
