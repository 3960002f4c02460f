-- daily_spend: settled spend by day, finely enough to add up to anything a report prints.
-- Grain:  (client_id, period, local_date, purpose, request_model, model, arm, price_id, is_ok, is_measured).
-- Units:  USD exact, DECIMAL(38,12); tokens are counts, each in exactly one bucket.
-- Zone:   local_date is the day of reserved_at in the client's zone; period is the client's month.
-- Source: call.settled, and corrections, which move a call from the price it was billed at to the one now known; baseline.set for the rates; client.added for the zone.
-- Sums have no condition of their own in the first pass, where every call is; what they need is a key there.
-- Rows are first summed by quarter of an hour, which no zone's midnight cuts, so that a zone is looked up
-- a few thousand times and not once a call; rates multiply sums of tokens, which is exact and cheap.
CREATE OR REPLACE VIEW daily_spend AS
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
quarters AS (
    SELECT
        client_id,
        period,
        epoch_us(reserved_at) // 900000000 AS quarter,
        purpose,
        request_model,
        coalesce(response_model, request_model) AS model,
        arm,
        price_id,
        outcome = 'ok' AS is_ok,
        usage_source,
        usage_input_tokens IS NOT NULL AND usage_output_tokens IS NOT NULL AS has_usage,
        count(*) AS calls,
        coalesce(sum(usage_input_tokens), 0) AS input_tokens,
        coalesce(sum(usage_output_tokens), 0) AS output_tokens,
        coalesce(sum(usage_cache_read_input_tokens), 0) AS cache_read_tokens,
        coalesce(sum(usage_cache_write_input_tokens), 0) AS cache_write_tokens,
        coalesce(sum(usage_reasoning_output_tokens), 0) AS reasoning_tokens,
        sum(cost_usd) AS cost_usd,
        coalesce(sum(cost_uncached_input_usd), 0::DECIMAL(38, 12)) AS cost_uncached_input_usd,
        coalesce(sum(cost_cache_read_usd), 0::DECIMAL(38, 12)) AS cost_cache_read_usd,
        coalesce(sum(cost_cache_write_usd), 0::DECIMAL(38, 12)) AS cost_cache_write_usd,
        coalesce(sum(cost_plain_output_usd), 0::DECIMAL(38, 12)) AS cost_plain_output_usd,
        coalesce(sum(cost_reasoning_usd), 0::DECIMAL(38, 12)) AS cost_reasoning_usd
    FROM events
    WHERE type = 'halfpenny.call.settled.v1'
    GROUP BY ALL
    UNION ALL
    SELECT
        client_id,
        period,
        epoch_us(reserved_at) // 900000000 AS quarter,
        purpose,
        request_model,
        coalesce(response_model, request_model) AS model,
        arm,
        billed_price_id AS price_id,
        outcome = 'ok' AS is_ok,
        usage_source,
        usage_input_tokens IS NOT NULL AND usage_output_tokens IS NOT NULL AS has_usage,
        -count(*) AS calls,
        -coalesce(sum(usage_input_tokens), 0) AS input_tokens,
        -coalesce(sum(usage_output_tokens), 0) AS output_tokens,
        -coalesce(sum(usage_cache_read_input_tokens), 0) AS cache_read_tokens,
        -coalesce(sum(usage_cache_write_input_tokens), 0) AS cache_write_tokens,
        -coalesce(sum(usage_reasoning_output_tokens), 0) AS reasoning_tokens,
        -sum(billed_usd) AS cost_usd,
        -coalesce(sum(billed_uncached_input_usd), 0::DECIMAL(38, 12)) AS cost_uncached_input_usd,
        -coalesce(sum(billed_cache_read_usd), 0::DECIMAL(38, 12)) AS cost_cache_read_usd,
        -coalesce(sum(billed_cache_write_usd), 0::DECIMAL(38, 12)) AS cost_cache_write_usd,
        -coalesce(sum(billed_plain_output_usd), 0::DECIMAL(38, 12)) AS cost_plain_output_usd,
        -coalesce(sum(billed_reasoning_usd), 0::DECIMAL(38, 12)) AS cost_reasoning_usd
    FROM corrections
    GROUP BY ALL
    UNION ALL
    SELECT
        client_id,
        period,
        epoch_us(reserved_at) // 900000000 AS quarter,
        purpose,
        request_model,
        coalesce(response_model, request_model) AS model,
        arm,
        price_id,
        outcome = 'ok' AS is_ok,
        usage_source,
        usage_input_tokens IS NOT NULL AND usage_output_tokens IS NOT NULL AS has_usage,
        count(*) AS calls,
        coalesce(sum(usage_input_tokens), 0) AS input_tokens,
        coalesce(sum(usage_output_tokens), 0) AS output_tokens,
        coalesce(sum(usage_cache_read_input_tokens), 0) AS cache_read_tokens,
        coalesce(sum(usage_cache_write_input_tokens), 0) AS cache_write_tokens,
        coalesce(sum(usage_reasoning_output_tokens), 0) AS reasoning_tokens,
        sum(cost_usd) AS cost_usd,
        coalesce(sum(cost_uncached_input_usd), 0::DECIMAL(38, 12)) AS cost_uncached_input_usd,
        coalesce(sum(cost_cache_read_usd), 0::DECIMAL(38, 12)) AS cost_cache_read_usd,
        coalesce(sum(cost_cache_write_usd), 0::DECIMAL(38, 12)) AS cost_cache_write_usd,
        coalesce(sum(cost_plain_output_usd), 0::DECIMAL(38, 12)) AS cost_plain_output_usd,
        coalesce(sum(cost_reasoning_usd), 0::DECIMAL(38, 12)) AS cost_reasoning_usd
    FROM corrections
    GROUP BY ALL
),
days AS (
    SELECT
        q.client_id,
        q.period,
        timezone(z.zone, make_timestamptz(q.quarter * 900000000))::DATE AS local_date,
        q.purpose,
        q.request_model,
        q.model,
        q.arm,
        q.price_id,
        q.is_ok,
        q.usage_source <> 'estimated' AND q.has_usage AS is_measured,
        sum(q.calls)::BIGINT AS calls,
        coalesce(sum(q.calls) FILTER (WHERE q.usage_source = 'estimated'), 0)::BIGINT AS estimated_calls,
        coalesce(sum(q.calls) FILTER (WHERE q.usage_source = 'counted'), 0)::BIGINT AS counted_calls,
        coalesce(sum(q.calls) FILTER (WHERE NOT q.has_usage), 0)::BIGINT AS calls_without_usage,
        coalesce(sum(q.input_tokens) FILTER (WHERE q.has_usage), 0)::BIGINT AS input_tokens,
        coalesce(sum(q.output_tokens) FILTER (WHERE q.has_usage), 0)::BIGINT AS output_tokens,
        coalesce(sum(q.input_tokens - q.cache_read_tokens - q.cache_write_tokens) FILTER (WHERE q.has_usage), 0)::BIGINT
            AS uncached_input_tokens,
        coalesce(sum(q.cache_read_tokens) FILTER (WHERE q.has_usage), 0)::BIGINT AS cache_read_tokens,
        coalesce(sum(q.cache_write_tokens) FILTER (WHERE q.has_usage), 0)::BIGINT AS cache_write_tokens,
        coalesce(sum(q.output_tokens - q.reasoning_tokens) FILTER (WHERE q.has_usage), 0)::BIGINT AS plain_output_tokens,
        coalesce(sum(q.reasoning_tokens) FILTER (WHERE q.has_usage), 0)::BIGINT AS reasoning_tokens,
        sum(q.cost_usd) AS cost_usd,
        sum(q.cost_uncached_input_usd) AS cost_uncached_input_usd,
        sum(q.cost_cache_read_usd) AS cost_cache_read_usd,
        sum(q.cost_cache_write_usd) AS cost_cache_write_usd,
        sum(q.cost_plain_output_usd) AS cost_plain_output_usd,
        sum(q.cost_reasoning_usd) AS cost_reasoning_usd
    FROM quarters AS q
    LEFT JOIN zones AS z ON z.client_id = q.client_id
    GROUP BY ALL
    HAVING sum(q.calls) <> 0
)
SELECT
    d.*,
    CASE WHEN d.is_measured AND d.purpose IN ('classification', 'generation', 'other') THEN CAST((
        d.uncached_input_tokens * b.uncached_input
        + d.cache_read_tokens * b.cache_read
        + d.cache_write_tokens * b.cache_write
        + d.plain_output_tokens * b.plain_output
        + d.reasoning_tokens * b.reasoning
    )::DECIMAL(31, 6) * 0.000001::DECIMAL(7, 6) AS DECIMAL(38, 12)) END AS baseline_usd
FROM days AS d
CROSS JOIN baseline AS b;

COMMENT ON VIEW daily_spend IS 'Settled spend by client, local day, purpose, model and arm; failed and unmeasured calls in rows of their own.';
COMMENT ON COLUMN daily_spend.client_id IS 'whose calls they are';
COMMENT ON COLUMN daily_spend.period IS 'month of the budget, YYYY-MM, in the client''s zone';
COMMENT ON COLUMN daily_spend.local_date IS 'day of reserved_at in the client''s zone';
COMMENT ON COLUMN daily_spend.purpose IS 'classification, generation, judge, shadow or other';
COMMENT ON COLUMN daily_spend.request_model IS 'model asked for';
COMMENT ON COLUMN daily_spend.model IS 'model that was charged: response_model, else request_model';
COMMENT ON COLUMN daily_spend.arm IS 'standard, premium or another configured arm; absent when not routed';
COMMENT ON COLUMN daily_spend.price_id IS 'price they cost as now known; as billed, see calls.billed_usd and corrections';
COMMENT ON COLUMN daily_spend.is_ok IS 'whether these calls ended with outcome ok';
COMMENT ON COLUMN daily_spend.is_measured IS 'whether the tokens of these calls are known and not an estimate';
COMMENT ON COLUMN daily_spend.calls IS 'settled attempts';
COMMENT ON COLUMN daily_spend.estimated_calls IS 'of these, those whose cost is the hold';
COMMENT ON COLUMN daily_spend.counted_calls IS 'of these, those whose tokens we counted, since the provider did not report them';
COMMENT ON COLUMN daily_spend.calls_without_usage IS 'of these, those without token counts';
COMMENT ON COLUMN daily_spend.input_tokens IS 'tokens in, cached ones included';
COMMENT ON COLUMN daily_spend.output_tokens IS 'tokens out, reasoning included';
COMMENT ON COLUMN daily_spend.uncached_input_tokens IS 'tokens in that no cache served';
COMMENT ON COLUMN daily_spend.cache_read_tokens IS 'tokens in that were read from the provider''s cache';
COMMENT ON COLUMN daily_spend.cache_write_tokens IS 'tokens in that were written to the provider''s cache';
COMMENT ON COLUMN daily_spend.plain_output_tokens IS 'tokens out that are not reasoning';
COMMENT ON COLUMN daily_spend.reasoning_tokens IS 'tokens out spent on reasoning';
COMMENT ON COLUMN daily_spend.cost_usd IS 'USD, exact, as now known';
COMMENT ON COLUMN daily_spend.cost_uncached_input_usd IS 'USD, exact; the cost of calls without usage is in cost_usd alone';
COMMENT ON COLUMN daily_spend.cost_cache_read_usd IS 'USD, exact';
COMMENT ON COLUMN daily_spend.cost_cache_write_usd IS 'USD, exact';
COMMENT ON COLUMN daily_spend.cost_plain_output_usd IS 'USD, exact';
COMMENT ON COLUMN daily_spend.cost_reasoning_usd IS 'USD, exact';
COMMENT ON COLUMN daily_spend.baseline_usd IS 'USD the same tokens cost at the baseline set last; absent for judge and shadow calls, unmeasured ones, and without a baseline';
