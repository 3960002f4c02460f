-- calls: one row per attempt of a call, whatever became of it, and one per reply from the cache, as attempt 0.
-- Grain:  (call_id, attempt). A call that was refused was never made and is not here; see events.
-- Units:  USD exact, DECIMAL(18,12); tokens are counts, each in exactly one bucket; seconds with six decimals.
-- Zone:   moments are UTC instants; local_date is the day in the client's own zone.
-- Source: call.reserved with what ended it: call.settled, call.voided or call.orphaned; call.cached; corrections; baseline.set; client.added.
-- cost_usd is as now known; billed_usd is as billed, and the two differ only where a price came after the fact.
CREATE OR REPLACE VIEW calls AS
WITH baseline AS (
    SELECT
        arg_max(rate_uncached_input, sequence)::DECIMAL(12, 6) AS uncached_input,
        arg_max(rate_cache_read, sequence)::DECIMAL(12, 6) AS cache_read,
        arg_max(rate_cache_write, sequence)::DECIMAL(12, 6) AS cache_write,
        arg_max(rate_plain_output, sequence)::DECIMAL(12, 6) AS plain_output,
        arg_max(rate_reasoning, sequence)::DECIMAL(12, 6) AS reasoning
    FROM events WHERE type = 'halfpenny.baseline.set.v1'
),
zones AS (
    SELECT subject AS client_id, any_value(zone) AS zone
    FROM events WHERE type = 'halfpenny.client.added.v1' GROUP BY subject
),
attempts AS (
    SELECT
        r.subject AS call_id,
        r.attempt,
        r.client_id,
        r.key_id,
        r.ticket_id,
        r.period,
        r.purpose,
        coalesce(s.arm, r.arm) AS arm,
        coalesce(s.ticket_class, r.ticket_class) AS ticket_class,
        coalesce(s.outcome, CASE WHEN v.subject IS NOT NULL THEN 'voided' WHEN o.subject IS NOT NULL THEN 'orphaned' ELSE 'open' END)
            AS outcome,
        r.provider_name,
        r.request_model,
        s.response_model,
        coalesce(s.response_model, r.request_model) AS model,
        coalesce(k.price_id, s.price_id, r.price_id) AS price_id,
        coalesce(s.reserved_at, r.time) AS reserved_at,
        coalesce(s.time, v.time, o.time) AS ended_at,
        s.duration_s,
        s.duration_source,
        s.response_time_to_first_chunk AS first_chunk_s,
        r.request_stream,
        s.stream_complete,
        r.client_retry,
        r.input_bytes,
        r.max_output_tokens,
        r.hold_usd,
        coalesce(k.cost_usd, s.cost_usd) AS cost_usd,
        s.cost_usd AS billed_usd,
        s.usage_source,
        s.usage_anomaly,
        CASE WHEN s.usage_output_tokens IS NOT NULL THEN s.usage_input_tokens END AS input_tokens,
        CASE WHEN s.usage_input_tokens IS NOT NULL THEN s.usage_output_tokens END AS output_tokens,
        coalesce(s.usage_cache_read_input_tokens, 0) AS cache_read,
        coalesce(s.usage_cache_write_input_tokens, 0) AS cache_write,
        coalesce(s.usage_reasoning_output_tokens, 0) AS reasoning,
        coalesce(k.cost_uncached_input_usd, s.cost_uncached_input_usd) AS cost_uncached_input_usd,
        coalesce(k.cost_cache_read_usd, s.cost_cache_read_usd) AS cost_cache_read_usd,
        coalesce(k.cost_cache_write_usd, s.cost_cache_write_usd) AS cost_cache_write_usd,
        coalesce(k.cost_plain_output_usd, s.cost_plain_output_usd) AS cost_plain_output_usd,
        coalesce(k.cost_reasoning_usd, s.cost_reasoning_usd) AS cost_reasoning_usd,
        s.response_id,
        s.response_finish_reasons AS finish_reasons,
        coalesce(s.error_type, v.error_type) AS error_type,
        coalesce(s.http_status, v.http_status) AS http_status,
        r.policy,
        r.class_reading,
        r.class_score,
        r.propensity,
        r."lambda",
        r.gain,
        r.extra_cost_usd,
        r.budget_left_usd,
        r.tickets_expected,
        r.reason AS decision_reason,
        coalesce(v.reason, o.reason) AS end_reason,
        -- what is held against the baseline: the tokens, unless they were taken from the hold
        CASE WHEN s.usage_source <> 'estimated' THEN s.usage_input_tokens END AS compared_input,
        CASE WHEN s.usage_source <> 'estimated' THEN s.usage_output_tokens END AS compared_output
    FROM (SELECT * FROM events WHERE type = 'halfpenny.call.reserved.v1') AS r
    LEFT JOIN (SELECT * FROM events WHERE type = 'halfpenny.call.settled.v1') AS s ON s.subject = r.subject AND s.attempt = r.attempt
    LEFT JOIN (SELECT * FROM events WHERE type = 'halfpenny.call.voided.v1') AS v ON v.subject = r.subject AND v.attempt = r.attempt
    LEFT JOIN (SELECT * FROM events WHERE type = 'halfpenny.call.orphaned.v1') AS o ON o.subject = r.subject AND o.attempt = r.attempt
    LEFT JOIN corrections AS k ON k.call_id = r.subject AND k.attempt = r.attempt
    UNION ALL BY NAME
    SELECT
        subject AS call_id,
        0 AS attempt,
        client_id,
        key_id,
        ticket_id,
        period,
        purpose,
        arm,
        ticket_class,
        'cached' AS outcome,
        provider_name,
        request_model,
        response_model,
        coalesce(response_model, request_model) AS model,
        price_id,
        time AS reserved_at,
        time AS ended_at,
        request_stream,
        0::DECIMAL(18, 12) AS cost_usd,
        0::DECIMAL(18, 12) AS billed_usd,
        avoided_input_tokens AS compared_input,
        avoided_output_tokens AS compared_output,
        coalesce(avoided_cache_read_input_tokens, 0) AS cache_read,
        coalesce(avoided_cache_write_input_tokens, 0) AS cache_write,
        coalesce(avoided_reasoning_output_tokens, 0) AS reasoning,
        source_call_id,
        avoided_usd,
        avoided_input_tokens,
        avoided_output_tokens
    FROM events WHERE type = 'halfpenny.call.cached.v1'
)
SELECT
    a.call_id,
    a.attempt,
    a.client_id,
    a.key_id,
    a.ticket_id,
    a.period,
    timezone(z.zone, a.reserved_at)::DATE AS local_date,
    a.purpose,
    a.arm,
    a.ticket_class,
    a.outcome,
    a.provider_name,
    a.request_model,
    a.response_model,
    a.model,
    a.price_id,
    a.reserved_at,
    a.ended_at,
    a.duration_s,
    a.duration_source,
    a.first_chunk_s,
    a.request_stream,
    a.stream_complete,
    a.client_retry,
    a.input_bytes,
    a.max_output_tokens,
    a.hold_usd,
    a.cost_usd,
    a.usage_source,
    a.usage_anomaly,
    a.input_tokens,
    a.output_tokens,
    a.input_tokens - a.cache_read - a.cache_write AS uncached_input_tokens,
    CASE WHEN a.input_tokens IS NOT NULL THEN a.cache_read END AS cache_read_tokens,
    CASE WHEN a.input_tokens IS NOT NULL THEN a.cache_write END AS cache_write_tokens,
    a.output_tokens - a.reasoning AS plain_output_tokens,
    CASE WHEN a.output_tokens IS NOT NULL THEN a.reasoning END AS reasoning_tokens,
    a.cost_uncached_input_usd,
    a.cost_cache_read_usd,
    a.cost_cache_write_usd,
    a.cost_plain_output_usd,
    a.cost_reasoning_usd,
    CASE WHEN a.purpose IN ('classification', 'generation', 'other') THEN CAST((
        (a.compared_input - a.cache_read - a.cache_write) * b.uncached_input
        + a.cache_read * b.cache_read
        + a.cache_write * b.cache_write
        + (a.compared_output - a.reasoning) * b.plain_output
        + a.reasoning * b.reasoning
    )::DECIMAL(31, 6) * 0.000001::DECIMAL(7, 6) AS DECIMAL(18, 12)) END AS baseline_usd,
    a.response_id,
    a.finish_reasons,
    a.error_type,
    a.http_status,
    a.policy,
    a.class_reading,
    a.class_score,
    a.propensity,
    a."lambda",
    a.gain,
    a.extra_cost_usd,
    a.budget_left_usd,
    a.tickets_expected,
    a.decision_reason,
    a.end_reason,
    a.source_call_id,
    a.avoided_usd,
    a.avoided_input_tokens,
    a.avoided_output_tokens,
    a.billed_usd
FROM attempts AS a
LEFT JOIN zones AS z ON z.client_id = a.client_id
CROSS JOIN baseline AS b;

COMMENT ON VIEW calls IS 'One row per attempt of a call, with its decision, its end, its tokens and its cost; a reply from the cache is attempt 0. Refused calls were never made and are not here.';
COMMENT ON COLUMN calls.call_id IS 'UUIDv7 of the call, the same for all its attempts';
COMMENT ON COLUMN calls.attempt IS 'counts from 1; 0 for a reply from the cache, for which none was made';
COMMENT ON COLUMN calls.client_id IS 'whose call it is';
COMMENT ON COLUMN calls.key_id IS 'visible beginning of the key that asked; absent when none did';
COMMENT ON COLUMN calls.ticket_id IS 'ticket it was made for; an HMAC when the client is private';
COMMENT ON COLUMN calls.period IS 'month of the budget, YYYY-MM, in the client''s zone';
COMMENT ON COLUMN calls.local_date IS 'day of reserved_at in the client''s zone';
COMMENT ON COLUMN calls.purpose IS 'classification, generation, judge, shadow or other';
COMMENT ON COLUMN calls.arm IS 'standard, premium or another configured arm; absent when not routed';
COMMENT ON COLUMN calls.ticket_class IS 'simple or complex, as the classifier was read; absent when not classified';
COMMENT ON COLUMN calls.outcome IS 'ok, error, client_gone, upstream_truncated, timeout; voided: provably not billed; orphaned: end unknown; open: in flight; cached: served from the cache';
COMMENT ON COLUMN calls.provider_name IS 'provider the call went to';
COMMENT ON COLUMN calls.request_model IS 'model asked for';
COMMENT ON COLUMN calls.response_model IS 'model that answered; absent when none said so';
COMMENT ON COLUMN calls.model IS 'model that was charged: response_model, else request_model';
COMMENT ON COLUMN calls.price_id IS 'price it costs as now known, else the one the hold was made with; see prices';
COMMENT ON COLUMN calls.reserved_at IS 'UTC; when the money was set aside, just before the request';
COMMENT ON COLUMN calls.ended_at IS 'UTC; when it was settled, voided or orphaned; absent while open';
COMMENT ON COLUMN calls.duration_s IS 'seconds from the request upstream to its end; absent unless settled';
COMMENT ON COLUMN calls.duration_source IS 'measured, or simulated when the simulator answered at once and stated it';
COMMENT ON COLUMN calls.first_chunk_s IS 'seconds to the first chunk of a streamed reply';
COMMENT ON COLUMN calls.request_stream IS 'whether a stream was asked for';
COMMENT ON COLUMN calls.stream_complete IS 'whether the stream came to its end; absent when not streamed';
COMMENT ON COLUMN calls.client_retry IS 'how often the client says it has asked this already';
COMMENT ON COLUMN calls.input_bytes IS 'bytes of the request, an upper bound of its tokens';
COMMENT ON COLUMN calls.max_output_tokens IS 'tokens; the most the reply was allowed to have';
COMMENT ON COLUMN calls.hold_usd IS 'USD set aside: the worst case';
COMMENT ON COLUMN calls.cost_usd IS 'USD, exact, as now known; 0 for a reply from the cache; absent unless settled or cached';
COMMENT ON COLUMN calls.usage_source IS 'reported by the provider, counted by us, or estimated: then the hold was taken as cost';
COMMENT ON COLUMN calls.usage_anomaly IS 'what was wrong with the reported usage; absent when nothing was';
COMMENT ON COLUMN calls.input_tokens IS 'tokens in, cached ones included; absent when not known';
COMMENT ON COLUMN calls.output_tokens IS 'tokens out, reasoning included; absent when not known';
COMMENT ON COLUMN calls.uncached_input_tokens IS 'tokens in that no cache served; absent when not known';
COMMENT ON COLUMN calls.cache_read_tokens IS 'tokens in that were read from the provider''s cache';
COMMENT ON COLUMN calls.cache_write_tokens IS 'tokens in that were written to the provider''s cache';
COMMENT ON COLUMN calls.plain_output_tokens IS 'tokens out that are not reasoning';
COMMENT ON COLUMN calls.reasoning_tokens IS 'tokens out spent on reasoning';
COMMENT ON COLUMN calls.cost_uncached_input_usd IS 'USD, exact';
COMMENT ON COLUMN calls.cost_cache_read_usd IS 'USD, exact';
COMMENT ON COLUMN calls.cost_cache_write_usd IS 'USD, exact';
COMMENT ON COLUMN calls.cost_plain_output_usd IS 'USD, exact';
COMMENT ON COLUMN calls.cost_reasoning_usd IS 'USD, exact';
COMMENT ON COLUMN calls.baseline_usd IS 'USD the same tokens cost at the baseline set last, for a reply from the cache those it avoided; absent for judge and shadow calls, without usage, and without a baseline';
COMMENT ON COLUMN calls.response_id IS 'the provider''s id of the reply';
COMMENT ON COLUMN calls.finish_reasons IS 'why the reply ended, one per choice';
COMMENT ON COLUMN calls.error_type IS 'kind of error; absent when there was none';
COMMENT ON COLUMN calls.http_status IS 'status the provider answered with, where it matters';
COMMENT ON COLUMN calls.policy IS 'policy and version that chose the arm';
COMMENT ON COLUMN calls.class_reading IS 'clear, unclear or failed: whether the classifier''s answer could be read';
COMMENT ON COLUMN calls.class_score IS '0..1, the classifier''s score';
COMMENT ON COLUMN calls.propensity IS '0..1, probability with which this arm was chosen';
COMMENT ON COLUMN calls."lambda" IS 'gain asked of one more dollar when it was decided';
COMMENT ON COLUMN calls.gain IS 'gain the decision expected of the premium arm';
COMMENT ON COLUMN calls.extra_cost_usd IS 'USD the decision expected the premium arm to cost more';
COMMENT ON COLUMN calls.budget_left_usd IS 'USD that were left of the budget when it was decided';
COMMENT ON COLUMN calls.tickets_expected IS 'tickets still expected in the period when it was decided';
COMMENT ON COLUMN calls.decision_reason IS 'why this arm, in words';
COMMENT ON COLUMN calls.end_reason IS 'why it was voided or orphaned, in words';
COMMENT ON COLUMN calls.source_call_id IS 'call whose reply was served from the cache; absent for others';
COMMENT ON COLUMN calls.avoided_usd IS 'USD a reply from the cache would have cost; absent for others';
COMMENT ON COLUMN calls.avoided_input_tokens IS 'tokens in that a reply from the cache avoided; never usage';
COMMENT ON COLUMN calls.avoided_output_tokens IS 'tokens out that a reply from the cache avoided; never usage';
COMMENT ON COLUMN calls.billed_usd IS 'USD charged when it was settled, exact; differs from cost_usd where a price came after the fact, see corrections';
