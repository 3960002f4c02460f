-- outcomes: how attempts ended, and what was refused. Grain: (what, name). `usd` is what is held without an end.
WITH mine AS (
    SELECT type, subject, attempt, outcome, refusal, hold_usd FROM events WHERE client_id = $client AND period = $period
),
held AS (
    SELECT 'open' AS name, hold_usd FROM mine AS r
    WHERE type = 'halfpenny.call.reserved.v1' AND NOT EXISTS (
        SELECT 1 FROM mine AS x
        WHERE x.type IN ('halfpenny.call.settled.v1', 'halfpenny.call.voided.v1', 'halfpenny.call.orphaned.v1')
            AND x.subject = r.subject AND x.attempt = r.attempt
    )
    UNION ALL
    SELECT 'orphaned', hold_usd FROM mine AS o
    WHERE type = 'halfpenny.call.orphaned.v1' AND NOT EXISTS (
        SELECT 1 FROM mine AS x
        WHERE x.type IN ('halfpenny.call.settled.v1', 'halfpenny.call.voided.v1')
            AND x.subject = o.subject AND x.attempt = o.attempt
    )
),
named AS (
    SELECT
        CASE WHEN type = 'halfpenny.call.refused.v1' THEN 'refused' ELSE 'ended' END AS what,
        CASE type WHEN 'halfpenny.call.settled.v1' THEN outcome WHEN 'halfpenny.call.voided.v1' THEN 'voided' ELSE refusal END AS name,
        0::DECIMAL(18, 12) AS usd
    FROM mine
    WHERE type IN ('halfpenny.call.settled.v1', 'halfpenny.call.voided.v1', 'halfpenny.call.refused.v1')
    UNION ALL
    SELECT 'ended', name, hold_usd FROM held
)
SELECT what, name, count(*) AS attempts, sum(usd) AS usd FROM named GROUP BY what, name ORDER BY what, name;
