-- outcomes: how attempts ended, and what was refused. Grain: (what, name). `usd` is what is held without an end.
SELECT what, name, count(*) AS count, sum(usd) AS usd FROM (
    SELECT 'ended' AS what, outcome AS name, 0::DECIMAL(18, 12) AS usd FROM events
    WHERE type = 'halfpenny.call.settled.v1' AND client_id = $client AND period = $period
    UNION ALL
    SELECT 'ended', 'voided', 0 FROM events WHERE type = 'halfpenny.call.voided.v1' AND client_id = $client AND period = $period
    UNION ALL
    SELECT 'refused', refusal, 0 FROM events WHERE type = 'halfpenny.call.refused.v1' AND client_id = $client AND period = $period
    UNION ALL
    SELECT 'ended', CASE WHEN type = 'halfpenny.call.orphaned.v1' THEN 'orphaned' ELSE 'open' END, hold_usd
    FROM events AS h
    WHERE type IN ('halfpenny.call.orphaned.v1', 'halfpenny.call.reserved.v1') AND client_id = $client AND period = $period
        AND NOT EXISTS (
            SELECT 1 FROM events AS x
            WHERE x.client_id = $client AND x.period = $period AND x.subject = h.subject AND x.attempt = h.attempt
                AND (
                    x.type IN ('halfpenny.call.settled.v1', 'halfpenny.call.voided.v1')
                    OR (x.type = 'halfpenny.call.orphaned.v1' AND h.type = 'halfpenny.call.reserved.v1')
                )
        )
)
GROUP BY ALL ORDER BY what, name;
