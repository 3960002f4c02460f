-- prices: the price book, every price ever listed.
-- Grain:  one price.listed event.
-- Units:  USD per million tokens.
-- Zone:   moments are UTC instants; valid_from is inclusive, valid_to and in_force_to exclusive.
-- Source: price.listed. Of two prices with one start the later recorded is in force; both stay.
CREATE OR REPLACE VIEW prices AS
SELECT
    subject AS price_id,
    provider_name,
    model,
    rate_uncached_input,
    rate_cache_read,
    rate_cache_write,
    rate_plain_output,
    rate_reasoning,
    valid_from,
    valid_to,
    least(valid_to, lead(valid_from) OVER (PARTITION BY model ORDER BY valid_from, sequence)) AS in_force_to,
    context_tokens,
    max_output_tokens,
    price_source,
    retrieved_at,
    time AS listed_at,
    sequence,
    recorded_at
FROM events
WHERE type = 'halfpenny.price.listed.v1';

COMMENT ON VIEW prices IS 'The price book: every price ever listed, with the interval in which it is in force.';
COMMENT ON COLUMN prices.price_id IS 'id that calls carry, like model@2025-12-02';
COMMENT ON COLUMN prices.provider_name IS 'who charges it';
COMMENT ON COLUMN prices.model IS 'model it is for';
COMMENT ON COLUMN prices.rate_uncached_input IS 'USD per million tokens in that no cache served';
COMMENT ON COLUMN prices.rate_cache_read IS 'USD per million tokens read from the cache';
COMMENT ON COLUMN prices.rate_cache_write IS 'USD per million tokens written to the cache';
COMMENT ON COLUMN prices.rate_plain_output IS 'USD per million tokens out that are not reasoning';
COMMENT ON COLUMN prices.rate_reasoning IS 'USD per million tokens of reasoning';
COMMENT ON COLUMN prices.valid_from IS 'UTC, inclusive';
COMMENT ON COLUMN prices.valid_to IS 'UTC, exclusive, as listed; absent when open';
COMMENT ON COLUMN prices.in_force_to IS 'UTC, exclusive; valid_to or the start of the model''s next price, whichever is first; absent when open';
COMMENT ON COLUMN prices.context_tokens IS 'tokens that fit into one call';
COMMENT ON COLUMN prices.max_output_tokens IS 'tokens a reply may have at most';
COMMENT ON COLUMN prices.price_source IS 'where the price was read';
COMMENT ON COLUMN prices.retrieved_at IS 'when it was read there';
COMMENT ON COLUMN prices.listed_at IS 'UTC; when it was listed';
COMMENT ON COLUMN prices.sequence IS 'position in the journal';
COMMENT ON COLUMN prices.recorded_at IS 'UTC; from when on the ledger knew it, whenever it holds from';
