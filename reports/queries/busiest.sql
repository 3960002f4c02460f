-- busiest: the local hour in which most replies began; of equal ones the first. Grain: at most one row.
-- Counted by quarter of an hour first, so that the zone is looked up a few thousand times and not once a call.
WITH quarters AS (
    SELECT epoch_us(reserved_at) // 900000000 AS quarter, count(*) AS replies FROM events
    WHERE type = 'halfpenny.call.settled.v1' AND client_id = $client AND period = $period AND purpose = 'generation' AND outcome = 'ok'
    GROUP BY quarter
)
SELECT date_trunc('hour', timezone($zone, make_timestamptz(quarter * 900000000))) AS hour, sum(replies)::BIGINT AS replies
FROM quarters GROUP BY hour ORDER BY replies DESC, hour LIMIT 1;
