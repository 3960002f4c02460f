-- savings: what a month cost, and what the old bot would have paid for the same tokens.
-- Grain:  (client_id, period).
-- Units:  USD exact, DECIMAL(38,12).
-- Zone:   period is the client's month in its own zone.
-- Source: call.settled and call.cached, one scan without a join, and corrections, few or none; baseline.set for the rates.
-- The baseline is `repriced`: every measured classification, generation or other call at the baseline set last.
-- A reply from the cache cost nothing and counts with the tokens it avoided, since the old bot paid for it.
-- Judge and shadow calls cost money and have no baseline, since the old bot would not have made them.
CREATE OR REPLACE VIEW savings AS
WITH baseline AS (
    SELECT
        arg_max(subject, sequence) AS baseline_id,
        arg_max(rate_uncached_input, sequence)::DECIMAL(12, 6) AS uncached_input,
        arg_max(rate_cache_read, sequence)::DECIMAL(12, 6) AS cache_read,
        arg_max(rate_cache_write, sequence)::DECIMAL(12, 6) AS cache_write,
        arg_max(rate_plain_output, sequence)::DECIMAL(12, 6) AS plain_output,
        arg_max(rate_reasoning, sequence)::DECIMAL(12, 6) AS reasoning
    FROM events WHERE type = 'halfpenny.baseline.set.v1'
),
months AS (
    SELECT
        client_id,
        period,
        type = 'halfpenny.call.cached.v1' AS is_cached,
        (usage_source <> 'estimated' AND usage_input_tokens IS NOT NULL AND usage_output_tokens IS NOT NULL OR is_cached)
            AND purpose IN ('classification', 'generation', 'other') AS is_comparable,
        count(*) AS calls,
        coalesce(sum(cost_usd), 0::DECIMAL(38, 12)) AS cost_usd,
        coalesce(sum(cost_usd), 0::DECIMAL(38, 12)) AS billed_usd,
        coalesce(sum(avoided_usd), 0::DECIMAL(38, 12)) AS avoided_usd,
        coalesce(sum(usage_input_tokens), 0) + coalesce(sum(avoided_input_tokens), 0) AS input_tokens,
        coalesce(sum(usage_output_tokens), 0) + coalesce(sum(avoided_output_tokens), 0) AS output_tokens,
        coalesce(sum(usage_cache_read_input_tokens), 0) + coalesce(sum(avoided_cache_read_input_tokens), 0) AS cache_read_tokens,
        coalesce(sum(usage_cache_write_input_tokens), 0) + coalesce(sum(avoided_cache_write_input_tokens), 0) AS cache_write_tokens,
        coalesce(sum(usage_reasoning_output_tokens), 0) + coalesce(sum(avoided_reasoning_output_tokens), 0) AS reasoning_tokens
    FROM events
    WHERE type IN ('halfpenny.call.settled.v1', 'halfpenny.call.cached.v1')
    GROUP BY ALL
    UNION ALL BY NAME
    SELECT
        client_id,
        period,
        FALSE AS is_cached,
        usage_source <> 'estimated' AND usage_input_tokens IS NOT NULL AND usage_output_tokens IS NOT NULL
            AND purpose IN ('classification', 'generation', 'other') AS is_comparable,
        0 AS calls,
        sum(difference_usd) AS cost_usd,
        0::DECIMAL(38, 12) AS billed_usd,
        0::DECIMAL(38, 12) AS avoided_usd,
        0 AS input_tokens,
        0 AS output_tokens,
        0 AS cache_read_tokens,
        0 AS cache_write_tokens,
        0 AS reasoning_tokens
    FROM corrections
    GROUP BY ALL
),
priced AS (
    SELECT
        m.*,
        b.baseline_id,
        CASE WHEN m.is_comparable THEN CAST((
            (m.input_tokens - m.cache_read_tokens - m.cache_write_tokens)::BIGINT * b.uncached_input
            + m.cache_read_tokens::BIGINT * b.cache_read
            + m.cache_write_tokens::BIGINT * b.cache_write
            + (m.output_tokens - m.reasoning_tokens)::BIGINT * b.plain_output
            + m.reasoning_tokens::BIGINT * b.reasoning
        )::DECIMAL(31, 6) * 0.000001::DECIMAL(7, 6) AS DECIMAL(38, 12)) END AS baseline_usd
    FROM months AS m
    CROSS JOIN baseline AS b
)
SELECT
    client_id,
    period,
    any_value(baseline_id) AS baseline_id,
    coalesce(sum(calls) FILTER (WHERE NOT is_cached), 0)::BIGINT AS calls,
    coalesce(sum(calls) FILTER (WHERE baseline_usd IS NULL AND NOT is_cached), 0)::BIGINT AS calls_without_baseline,
    coalesce(sum(cost_usd) FILTER (WHERE baseline_usd IS NULL), 0::DECIMAL(38, 12)) AS cost_without_baseline_usd,
    sum(cost_usd) AS spend_usd,
    sum(baseline_usd) AS baseline_usd,
    sum(baseline_usd) - sum(cost_usd) AS saved_usd,
    coalesce(sum(calls) FILTER (WHERE is_cached), 0)::BIGINT AS cached_calls,
    sum(avoided_usd) AS avoided_usd,
    coalesce(sum(baseline_usd) FILTER (WHERE is_cached), 0::DECIMAL(38, 12)) AS cached_baseline_usd,
    sum(billed_usd) AS billed_usd
FROM priced
GROUP BY client_id, period;

COMMENT ON VIEW savings IS 'One row per client and month: spend, repriced baseline, and the difference.';
COMMENT ON COLUMN savings.client_id IS 'whose month it is';
COMMENT ON COLUMN savings.period IS 'month, YYYY-MM, in the client''s zone';
COMMENT ON COLUMN savings.baseline_id IS 'baseline that was used, the one set last; absent when none was set';
COMMENT ON COLUMN savings.calls IS 'settled attempts';
COMMENT ON COLUMN savings.calls_without_baseline IS 'of these, those not compared: without usage, judge or shadow calls, or no baseline set';
COMMENT ON COLUMN savings.cost_without_baseline_usd IS 'USD spent on the calls that are not compared';
COMMENT ON COLUMN savings.spend_usd IS 'USD of all settled attempts, exact, as now known';
COMMENT ON COLUMN savings.baseline_usd IS 'USD the compared tokens cost at the baseline, those that the cache avoided included, exact; absent without a baseline';
COMMENT ON COLUMN savings.saved_usd IS 'USD, baseline minus all spend; negative when more was spent; absent without a baseline';
COMMENT ON COLUMN savings.cached_calls IS 'calls that were answered from the cache instead';
COMMENT ON COLUMN savings.avoided_usd IS 'USD these would have cost at the prices in force, exact';
COMMENT ON COLUMN savings.cached_baseline_usd IS 'USD these would have cost at the baseline, exact; part of baseline_usd';
COMMENT ON COLUMN savings.billed_usd IS 'USD of all settled attempts, exact, as billed when they were settled';
