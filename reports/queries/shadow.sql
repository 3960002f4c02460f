-- shadow: tickets of the month that the baseline's model answered once more. Grain: a ticket. Units: exact USD, tokens.
-- `cost` is what its shadow runs cost; the tokens are those of the replies it got, to be priced at the baseline.
WITH again AS (
    SELECT ticket_id, sum(cost_usd)::DECIMAL(18, 12) AS cost FROM events
    WHERE type = 'halfpenny.call.settled.v1' AND client_id = $client AND period = $period AND purpose = 'shadow' AND outcome = 'ok'
        AND usage_source <> 'estimated' AND ticket_id IS NOT NULL AND coalesce(response_model, request_model) = $model
    GROUP BY ticket_id
),
replies AS (
    SELECT
        ticket_id,
        sum(usage_input_tokens)::BIGINT AS tokens_in,
        sum(usage_output_tokens)::BIGINT AS tokens_out
    FROM events
    WHERE type = 'halfpenny.call.settled.v1' AND client_id = $client AND period = $period AND purpose = 'generation' AND outcome = 'ok'
        AND usage_source <> 'estimated' AND usage_input_tokens IS NOT NULL AND usage_output_tokens IS NOT NULL
        AND ticket_id IN (SELECT ticket_id FROM again)
    GROUP BY ticket_id
)
SELECT a.cost, r.tokens_in, r.tokens_out FROM again AS a JOIN replies AS r ON r.ticket_id = a.ticket_id ORDER BY a.cost, r.tokens_in, r.tokens_out;
