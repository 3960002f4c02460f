-- prices: those that calls of the month were charged with, as now known, and how many calls. Grain: price_id.
SELECT
    u.price_id, p.model, p.rate_uncached_input, p.rate_cache_read, p.rate_cache_write, p.rate_plain_output, p.rate_reasoning,
    p.valid_from, p.price_source, p.retrieved_at, u.calls, p.provider_name
FROM (SELECT unnest($price_ids::VARCHAR[]) AS price_id, unnest($calls::BIGINT[]) AS calls) AS u
LEFT JOIN prices AS p ON p.price_id = u.price_id
ORDER BY u.price_id;
