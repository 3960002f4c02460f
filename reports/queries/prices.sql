-- prices: those that calls of the month were charged with, as now known. Grain: price_id.
WITH used AS (
    SELECT price_id, sum(calls)::BIGINT AS calls FROM daily_spend WHERE client_id = $client AND period = $period GROUP BY price_id
)
SELECT
    u.price_id, p.model, p.rate_uncached_input, p.rate_cache_read, p.rate_cache_write, p.rate_plain_output, p.rate_reasoning,
    p.valid_from, p.price_source, p.retrieved_at, u.calls, p.provider_name
FROM used AS u LEFT JOIN prices AS p ON p.price_id = u.price_id
ORDER BY u.price_id;
