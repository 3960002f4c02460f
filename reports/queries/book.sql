-- book: every price of the models that calls of the month were charged for, in the order in which they came into force.
SELECT price_id, model, rate_uncached_input, rate_cache_read, rate_cache_write, rate_plain_output, rate_reasoning, valid_from, in_force_to
FROM prices
WHERE model IN (SELECT DISTINCT model FROM prices WHERE list_contains($price_ids::VARCHAR[], price_id)) AND valid_from < $ends_at
ORDER BY model, valid_from, sequence;
