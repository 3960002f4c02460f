-- spend: the month's rows of daily_spend.
SELECT
    local_date, purpose, request_model, model, arm, price_id, is_ok, is_measured,
    calls, estimated_calls, counted_calls, calls_without_usage,
    uncached_input_tokens, cache_read_tokens, cache_write_tokens, plain_output_tokens, reasoning_tokens,
    cost_usd, cost_uncached_input_usd, cost_cache_read_usd, cost_cache_write_usd, cost_plain_output_usd, cost_reasoning_usd,
    baseline_usd
FROM daily_spend
WHERE client_id = $client AND period = $period
ORDER BY local_date, purpose, request_model, model, arm NULLS LAST, price_id, is_ok, is_measured;
