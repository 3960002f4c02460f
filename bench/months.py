"""Months of made-up calls, sealed as the ledger seals them, for benchmarks that need millions.

Everything is a function of a call's number, so that two machines measure the same bytes. A call is held and settled; every
other one writes a reply, of which a fifth is streamed, the rest classify; nine replies of ten are edited, a tenth of those scored: 2.5 events a call. Ids
are UUIDv7, replies take up to half a minute and edits come up to two hours later, so that facts of one call lie apart as they
do in life; one call in two hundred fails and is charged its hold. Segments are the sealer's: two million rows in the order
of time, its COPY options, all columns; hashes are random bytes, since they do not compress either. Not made: journal lines
and a chain that `verify` would accept.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from ledger import catalog, codec, manifest, parquet
from ledger.budgets import period_named
from ledger.disk import REAL
from ledger.home import Home
from ledger.manifest import Manifest, Segment
from ledger.rows import NAMES, literal, of_nothing, quoted
from ledger.segments import MAX_ROWS
from tests.made_home import EPOCH, FLASH, LARGE, MEDIUM, Book

CLIENT, ZONE, SOURCE = "acme", "Europe/Berlin", "homes/made"
EVENTS_A_CALL = 2.5
SLACK = 0.997  # of a full segment, since events spill over from the calls before
LONGEST_CALL_S, LONGEST_EDIT_S = 31, 7_200


def generated(home: Path, months: Sequence[str], calls: int) -> Path:
    """A home with so many calls in each of these months, which follow each other; made once, whole or not there."""
    if (home / "ledger.duckdb").is_file():
        return home
    started = time.perf_counter()
    for directory in ("events", "journal"):
        (home / directory).mkdir(parents=True, exist_ok=True)
    (home / "halfpenny.toml").write_text("", encoding="utf-8")
    segments = [_administration(home)]
    for month in months:
        for first, last in _windows(month, calls):
            segments.append(_segment(home, month, first, last, calls, segments[-1]))
    found = Manifest(source=SOURCE, published_at=EPOCH, files=tuple(segments), sealed_up_to=len(segments) - 1)
    (home / "journal" / f"{len(segments):010d}.jsonl").touch()  # a home always has a file that is not sealed
    manifest.store(Home(home), REAL, found)
    catalog.publish(Home(home), found, [], now=EPOCH)
    print(f"generated {calls:,} calls a month, {time.perf_counter() - started:.0f} s: {home}", file=sys.stderr)
    return home


def bytes_an_event(home: Path) -> float:
    """What an event of the home's segments weighs on disk."""
    files = manifest.load(Home(home), REAL).files
    return sum(segment.bytes for segment in files) / sum(segment.rows for segment in files)


def _windows(month: str, calls: int) -> Iterator[tuple[datetime, datetime]]:
    """The month cut so that no window has more events than the sealer puts into one segment; the last takes what comes later."""
    period = period_named(month, ZONE)
    parts = -(-int(calls * EVENTS_A_CALL) // int(MAX_ROWS * SLACK))
    cuts = [period.start + (period.end - period.start) * part / parts for part in range(parts)]
    yield from zip(cuts, [*cuts[1:], period.end + timedelta(days=1)], strict=True)


def _administration(home: Path) -> Segment:
    """The client, the prices, the baseline and the budget, as the first segment."""
    book = Book(zone=ZONE)
    book.client()
    book.baseline()
    book.budget("900000")
    lines, prev = [], codec.GENESIS
    for sequence, event in enumerate(book.events, 1):
        body = codec.encode(event)
        line, prev = codec.stamped(body, source=SOURCE, sequence=sequence, recorded_at=event.time, prev=prev)
        lines.append(line)
    path = home / "journal" / "0000000000.jsonl"
    path.write_bytes(b"".join(lines))
    target = home / "events" / "0000000000.parquet"
    parquet.write([path], target)
    path.unlink()
    return _listed(home, target, 0, (1, len(lines)), (EPOCH, EPOCH), "0" * 32, prev.hex())


def _segment(home: Path, month: str, first: datetime, last: datetime, calls: int, before: Segment) -> Segment:
    number = before.last_file + 1
    target = home / "events" / month / f"{number:010d}.parquet"
    target.parent.mkdir(exist_ok=True)
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'; SET memory_limit = '3GB'")
        connection.execute(f"SET temp_directory = {literal(str(target) + '.spill')}")
        chosen = ", ".join(map(quoted, NAMES))
        made = _made(month, first, last, calls, before.last_sequence)
        connection.execute(
            f"COPY (SELECT {chosen} FROM ({of_nothing()} UNION ALL BY NAME {made})) TO '{target}' {parquet._COPY}"
        )
        (rows,) = connection.execute(f"SELECT count(*) FROM '{target}'").fetchall()[0]
    end = before.last_sequence + rows
    digest = hashlib.md5(f"hash{end}".encode(), usedforsecurity=False).hexdigest()
    return _listed(home, target, number, (before.last_sequence + 1, end), (first, last), before.last_hash, digest)


def _listed(
    home: Path,
    path: Path,
    number: int,
    sequences: tuple[int, int],
    times: tuple[datetime, datetime],
    prev: str,
    last: str,
) -> Segment:
    ((min_id, max_id),) = duckdb.sql(f"SELECT min(event_id), max(event_id) FROM '{path}'").fetchall()
    return Segment(
        path=path.relative_to(home).as_posix(),
        first_file=number,
        last_file=number,
        first_sequence=sequences[0],
        last_sequence=sequences[1],
        rows=sequences[1] - sequences[0] + 1,
        min_time=times[0],
        max_time=times[1],
        cost_usd="0",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        bytes=path.stat().st_size,
        schema_version=codec.SCHEMA_VERSION,
        prev_hash=prev,
        last_hash=last,
        min_id=min_id,
        max_id=max_id,
    )


def _made(month: str, first: datetime, last: datetime, calls: int, before: int) -> str:
    """The SELECT of the events whose time lies in a window."""
    period = period_named(month, ZONE)
    start, end = _micros(period.start), _micros(period.end)
    low, high = _micros(first), _micros(last)
    book = Book()
    book.client()
    names = {"flash": FLASH, "medium": MEDIUM, "large": LARGE}
    prices = {f"p_{name}": book.prices.price_at(model, period.start).price_id for name, model in names.items()}
    return _MADE.format(
        low=low,
        high=high,
        before=before,
        month=month,
        salt=period.start.month,
        calls=calls,
        start=start,
        step=(end - start) / calls,
        # numbers of the first call that may have an event in the window, by kind; one step to spare
        held=int((low - start) / (end - start) * calls) - 1,
        settled=int((low - LONGEST_CALL_S * 1_000_000 - start) / (end - start) * calls) - 1,
        edited=int((low - LONGEST_EDIT_S * 1_000_000 - start) / (end - start) * calls) - 1,
        past=int((high - start) / (end - start) * calls) + 2,
        **{name: f"'{text}'" for name, text in (names | prices).items()},
    )


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


_UUID = "(({ms})::UHUGEINT * 1208925819614629174706176 + ({random} % 4096)::UHUGEINT * 18446744073709551616 + 528905046081400263933952 + 9223372036854775808 + {random} % 4611686018427387904)::UUID::VARCHAR"  # fmt: skip
_MADE = (
    """(
WITH kinds AS (
    SELECT i, 0 AS kind FROM range(greatest({held}, 0), least({past}, {calls})) AS t(i)
    UNION ALL SELECT i, 1 AS kind FROM range(greatest({settled}, 0), least({past}, {calls})) AS t(i)
    UNION ALL SELECT i, 2 AS kind FROM range(greatest({edited}, 0), least({past}, {calls})) AS t(i) WHERE i % 2 = 1 AND i % 20 <> 7
    UNION ALL SELECT i, 3 AS kind FROM range(greatest({edited}, 0), least({past}, {calls})) AS t(i) WHERE i % 20 = 9
),
moments AS (
    SELECT i, kind, hash(i, {salt}) AS h, {start} + (i * {step})::BIGINT AS begun,
        300000 + (h % 3000000)::BIGINT + CASE WHEN i % 2 = 1 THEN (h % 26000000)::BIGINT ELSE 0 END AS took,
        begun + CASE kind WHEN 0 THEN 0 WHEN 1 THEN took WHEN 2 THEN took + 60000000 + (h % 7000000)::BIGINT * 1000 ELSE
            took + 61000000 + (h % 7000000)::BIGINT * 1000 END AS moment
    FROM kinds
),
placed AS (
    SELECT i, kind, h, begun, took, moment, row_number() OVER (ORDER BY moment, kind, i) + {before} AS sequence
    FROM moments WHERE moment >= {low} AND moment < {high}
),
facts AS (
    SELECT *, kind = 0 AS is_hold, kind = 1 AS is_end, kind = 2 AS is_edit, kind = 3 AS is_score, kind < 2 AS is_call,
        i % 2 = 1 AS is_reply, i % 10 = 3 AS is_stream, i % 200 = 73 AS is_failed, (h >> 20) % 100 < 65 AS is_standard,
        CASE WHEN NOT is_reply THEN {flash} WHEN is_standard THEN {medium} ELSE {large} END AS model,
        CASE WHEN NOT is_reply THEN {p_flash} WHEN is_standard THEN {p_medium} ELSE {p_large} END AS price,
        CASE WHEN NOT is_reply THEN 900 + h % 600 ELSE 15000 + h % 16000 END::BIGINT AS tokens_in,
        CASE WHEN NOT is_reply THEN 4 ELSE 2600 + h % 3400 END::BIGINT AS tokens_out,
        CASE WHEN NOT is_reply THEN 0.27 WHEN is_standard THEN 0.4 ELSE 2 END::DECIMAL(10, 6) AS rate_in,
        CASE WHEN NOT is_reply THEN 1.1 WHEN is_standard THEN 2 ELSE 6 END::DECIMAL(10, 6) AS rate_out,
        CAST((tokens_in * rate_in)::DECIMAL(24, 6) * 0.000001::DECIMAL(7, 6) AS DECIMAL(18, 12)) AS cost_in,
        CAST((tokens_out * rate_out)::DECIMAL(24, 6) * 0.000001::DECIMAL(7, 6) AS DECIMAL(18, 12)) AS cost_out,
        CASE WHEN is_reply THEN 0.0435008 ELSE 0.00048 END::DECIMAL(18, 12) AS hold,
        """
    + _UUID.format(ms="begun // 1000", random="hash(i, {salt}, 1)")
    + """ AS call,
        'T-' || ({salt} * 100000000 + i // 2)::VARCHAR AS ticket
    FROM placed
)
SELECT
    CASE kind WHEN 0 THEN 'halfpenny.call.reserved.v1' WHEN 1 THEN 'halfpenny.call.settled.v1' WHEN 2 THEN 'halfpenny.draft.edited.v1'
        ELSE 'halfpenny.score.recorded.v1' END AS type,
    """
    + _UUID.format(ms="moment // 1000", random="hash(i, {salt}, kind, 2)")
    + """ AS event_id,
    CASE WHEN is_edit THEN ticket ELSE call END AS subject, make_timestamptz(moment) AS "time", 'acme' AS client_id, 'homes/made' AS source,
    sequence, make_timestamptz(moment + 400 + (h % 900)::BIGINT) AS recorded_at, unhex(md5('hash' || sequence::VARCHAR)) AS hash,
    '{month}' AS period, ticket AS ticket_id, model AS request_model, 'hp_7b9daff0' AS key_id,
    CASE WHEN is_reply THEN CASE WHEN is_standard THEN 'standard' ELSE 'premium' END END AS arm,
    CASE WHEN is_reply THEN CASE WHEN is_standard THEN 'simple' ELSE 'complex' END END AS ticket_class,
    CASE WHEN is_call THEN 1 END AS attempt,
    CASE WHEN is_call THEN CASE WHEN is_reply THEN 'generation' ELSE 'classification' END END AS purpose,
    CASE WHEN is_call THEN price END AS price_id,
    CASE WHEN is_call THEN 'global_api' END AS provider_name,
    CASE WHEN is_call THEN is_stream END AS request_stream,
    CASE WHEN is_end AND is_stream AND NOT is_failed THEN TRUE END AS stream_complete,
    CASE WHEN is_end AND is_stream AND NOT is_failed THEN (0.2 + h % 900000 / 1000000)::DECIMAL(12, 6) END AS response_time_to_first_chunk,
    CASE WHEN is_hold THEN hold END AS hold_usd,
    CASE WHEN is_hold THEN 3 * tokens_in END AS input_bytes,
    CASE WHEN is_hold THEN 8192 END AS max_output_tokens,
    CASE WHEN is_hold AND is_reply THEN 'clear' END AS class_reading,
    CASE WHEN is_hold AND is_reply THEN 'label' END AS policy,
    CASE WHEN is_hold AND is_reply THEN 1 END AS propensity,
    CASE WHEN is_hold AND is_reply THEN CASE WHEN is_standard THEN 'simple tickets go to standard' ELSE 'complex tickets go to premium' END END
        AS reason,
    CASE WHEN is_end THEN CASE WHEN is_failed THEN 'error' ELSE 'ok' END END AS outcome,
    CASE WHEN is_end THEN make_timestamptz(begun) END AS reserved_at,
    CASE WHEN is_end THEN CASE WHEN is_failed THEN 'estimated' ELSE 'reported' END END AS usage_source,
    CASE WHEN is_end THEN CASE WHEN is_failed THEN hold ELSE cost_in + cost_out END END AS cost_usd,
    CASE WHEN is_end THEN (took / 1000000)::DECIMAL(12, 6) END AS duration_s,
    CASE WHEN is_end THEN 'measured' END AS duration_source,
    CASE WHEN is_end AND NOT is_failed THEN model END AS response_model,
    CASE WHEN is_end AND NOT is_failed THEN 'chatcmpl-' || left(md5('reply' || i::VARCHAR || 'of{salt}'), 24) END AS response_id,
    CASE WHEN is_end AND NOT is_failed THEN tokens_in END AS usage_input_tokens,
    CASE WHEN is_end AND NOT is_failed THEN tokens_out END AS usage_output_tokens,
    CASE WHEN is_end AND NOT is_failed THEN 0 END AS usage_cache_read_input_tokens,
    CASE WHEN is_end AND NOT is_failed THEN 0 END AS usage_reasoning_output_tokens,
    CASE WHEN is_end AND NOT is_failed THEN cost_in END AS cost_uncached_input_usd,
    CASE WHEN is_end AND NOT is_failed THEN 0 END AS cost_cache_read_usd,
    CASE WHEN is_end AND NOT is_failed THEN 0 END AS cost_cache_write_usd,
    CASE WHEN is_end AND NOT is_failed THEN cost_out END AS cost_plain_output_usd,
    CASE WHEN is_end AND NOT is_failed THEN 0 END AS cost_reasoning_usd,
    CASE WHEN is_end AND NOT is_failed THEN ['stop'] END AS response_finish_reasons,
    CASE WHEN is_end THEN CASE WHEN is_failed THEN 504 ELSE 200 END END AS http_status,
    CASE WHEN NOT is_call THEN call END AS call_id,
    CASE WHEN is_edit THEN CASE h % 50 WHEN 0 THEN 'discarded' WHEN 1 THEN 'rewritten' ELSE
        CASE WHEN h % 3 = 0 THEN 'as_is' ELSE 'edited' END END END AS disposition,
    CASE WHEN is_edit THEN (h % 400000 / 1000000)::DECIMAL(9, 6) END AS edit_ratio,
    CASE WHEN is_edit THEN (20 + h % 400)::DECIMAL(12, 6) END AS edit_seconds,
    CASE WHEN is_edit THEN (9000 + h % 3000)::BIGINT END AS draft_characters,
    CASE WHEN is_edit THEN (9000 + h % 2900)::BIGINT END AS final_characters,
    CASE WHEN is_score THEN 'support-draft' END AS rubric,
    CASE WHEN is_score THEN '1' END AS rubric_version,
    CASE WHEN is_score THEN 'coherence' END AS criterion,
    CASE WHEN is_score THEN (0.6 + h % 400 / 1000)::DECIMAL(9, 6) END AS value,
    CASE WHEN is_score THEN 'human' END AS scorer,
    CASE WHEN is_score THEN TRUE END AS blind,
    CAST(make_timestamptz(moment) AS DATE) AS event_date
FROM facts)
"""
)
