-- corrections: every settled attempt that was corrected, as billed and as now known.
-- Grain:  (call_id, attempt). Of several corrections of one attempt the last one counts.
-- Units:  USD exact, DECIMAL(18,12); tokens are counts, totals inclusive as the provider reports them.
-- Zone:   moments are UTC instants; period is the client's month in its own zone.
-- Source: call.corrected with the call.settled it corrects. The join starts from the corrections, which are few or none.
CREATE OR REPLACE VIEW corrections AS
WITH last AS (
    SELECT *, count(*) OVER (PARTITION BY corrects) AS times
    FROM events WHERE type = 'halfpenny.call.corrected.v1'
    QUALIFY row_number() OVER (PARTITION BY corrects ORDER BY sequence DESC) = 1
)
SELECT
    s.subject AS call_id,
    s.attempt,
    s.client_id,
    s.key_id,
    s.ticket_id,
    s.period,
    s.purpose,
    s.arm,
    s.ticket_class,
    s.outcome,
    s.request_model,
    s.response_model,
    s.reserved_at,
    s.usage_source,
    s.usage_input_tokens,
    s.usage_output_tokens,
    s.usage_cache_read_input_tokens,
    s.usage_cache_write_input_tokens,
    s.usage_reasoning_output_tokens,
    s.price_id AS billed_price_id,
    k.price_id,
    s.cost_usd AS billed_usd,
    k.cost_usd,
    k.cost_usd - s.cost_usd AS difference_usd,
    s.cost_uncached_input_usd AS billed_uncached_input_usd,
    k.cost_uncached_input_usd,
    s.cost_cache_read_usd AS billed_cache_read_usd,
    k.cost_cache_read_usd,
    s.cost_cache_write_usd AS billed_cache_write_usd,
    k.cost_cache_write_usd,
    s.cost_plain_output_usd AS billed_plain_output_usd,
    k.cost_plain_output_usd,
    s.cost_reasoning_usd AS billed_reasoning_usd,
    k.cost_reasoning_usd,
    k.times,
    k.recorded_at AS corrected_at,
    k.correction
FROM (SELECT * FROM events WHERE type = 'halfpenny.call.settled.v1') AS s
JOIN last AS k ON k.corrects = s.event_id;

COMMENT ON VIEW corrections IS 'One row per settled attempt that was corrected after the fact: as billed and as now known. Empty when no price came late.';
COMMENT ON COLUMN corrections.call_id IS 'UUIDv7 of the call';
COMMENT ON COLUMN corrections.attempt IS 'counts from 1';
COMMENT ON COLUMN corrections.client_id IS 'whose call it is';
COMMENT ON COLUMN corrections.key_id IS 'visible beginning of the key that asked; absent when none did';
COMMENT ON COLUMN corrections.ticket_id IS 'ticket it was made for; an HMAC when the client is private';
COMMENT ON COLUMN corrections.period IS 'month of the budget, YYYY-MM, in the client''s zone';
COMMENT ON COLUMN corrections.purpose IS 'classification, generation, judge, shadow or other';
COMMENT ON COLUMN corrections.arm IS 'standard, premium or another configured arm; absent when not routed';
COMMENT ON COLUMN corrections.ticket_class IS 'simple or complex; absent when not classified';
COMMENT ON COLUMN corrections.outcome IS 'ok, error, client_gone, upstream_truncated or timeout';
COMMENT ON COLUMN corrections.request_model IS 'model asked for';
COMMENT ON COLUMN corrections.response_model IS 'model that answered; absent when none said so';
COMMENT ON COLUMN corrections.reserved_at IS 'UTC; when the money was set aside, the moment whose price counts';
COMMENT ON COLUMN corrections.usage_source IS 'as billed: reported, counted, or estimated';
COMMENT ON COLUMN corrections.usage_input_tokens IS 'tokens in, cached ones included; absent when not known';
COMMENT ON COLUMN corrections.usage_output_tokens IS 'tokens out, reasoning included; absent when not known';
COMMENT ON COLUMN corrections.usage_cache_read_input_tokens IS 'tokens in that were read from the provider''s cache';
COMMENT ON COLUMN corrections.usage_cache_write_input_tokens IS 'tokens in that were written to the provider''s cache';
COMMENT ON COLUMN corrections.usage_reasoning_output_tokens IS 'tokens out spent on reasoning';
COMMENT ON COLUMN corrections.billed_price_id IS 'price that was charged when the call was settled';
COMMENT ON COLUMN corrections.price_id IS 'price that counts as now known';
COMMENT ON COLUMN corrections.billed_usd IS 'USD charged when the call was settled, exact';
COMMENT ON COLUMN corrections.cost_usd IS 'USD it costs as now known, exact';
COMMENT ON COLUMN corrections.difference_usd IS 'USD, cost_usd minus billed_usd';
COMMENT ON COLUMN corrections.billed_uncached_input_usd IS 'USD, as billed';
COMMENT ON COLUMN corrections.cost_uncached_input_usd IS 'USD, as now known; absent for an estimate';
COMMENT ON COLUMN corrections.billed_cache_read_usd IS 'USD, as billed';
COMMENT ON COLUMN corrections.cost_cache_read_usd IS 'USD, as now known; absent for an estimate';
COMMENT ON COLUMN corrections.billed_cache_write_usd IS 'USD, as billed';
COMMENT ON COLUMN corrections.cost_cache_write_usd IS 'USD, as now known; absent for an estimate';
COMMENT ON COLUMN corrections.billed_plain_output_usd IS 'USD, as billed';
COMMENT ON COLUMN corrections.cost_plain_output_usd IS 'USD, as now known; absent for an estimate';
COMMENT ON COLUMN corrections.billed_reasoning_usd IS 'USD, as billed';
COMMENT ON COLUMN corrections.cost_reasoning_usd IS 'USD, as now known; absent for an estimate';
COMMENT ON COLUMN corrections.times IS 'how often it was corrected';
COMMENT ON COLUMN corrections.corrected_at IS 'UTC; when the last correction was recorded';
COMMENT ON COLUMN corrections.correction IS 'event_id of the price.corrected event that heads the last correction''s batch';
