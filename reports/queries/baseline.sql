-- baseline: the one set last.
SELECT
    subject, model, rate_uncached_input, rate_cache_read, rate_cache_write, rate_plain_output, rate_reasoning,
    valid_from, price_source, retrieved_at, NULL, ''
FROM events WHERE type = 'halfpenny.baseline.set.v1'
ORDER BY sequence DESC LIMIT 1;
