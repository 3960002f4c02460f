-- hits: replies from the cache by local day and everything they have in common. Units: tokens that were avoided, each in one bucket; exact USD.
SELECT
    timezone($zone, time)::DATE AS local_date,
    purpose,
    request_model,
    coalesce(response_model, request_model) AS model,
    arm,
    price_id,
    count(*) AS replies,
    sum(avoided_input_tokens - coalesce(avoided_cache_read_input_tokens, 0) - coalesce(avoided_cache_write_input_tokens, 0))::BIGINT,
    coalesce(sum(avoided_cache_read_input_tokens), 0)::BIGINT,
    coalesce(sum(avoided_cache_write_input_tokens), 0)::BIGINT,
    sum(avoided_output_tokens - coalesce(avoided_reasoning_output_tokens, 0))::BIGINT,
    coalesce(sum(avoided_reasoning_output_tokens), 0)::BIGINT,
    sum(avoided_usd)::DECIMAL(38, 12)
FROM events
WHERE type = 'halfpenny.call.cached.v1' AND client_id = $client AND period = $period
GROUP BY ALL
ORDER BY local_date, purpose, request_model, model, arm NULLS LAST, price_id;
