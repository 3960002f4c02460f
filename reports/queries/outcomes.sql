-- outcomes: how attempts ended, and what was refused. Grain: (what, name); `reserved` counts the holds.
SELECT
    CASE type WHEN 'halfpenny.call.refused.v1' THEN 'refused' WHEN 'halfpenny.call.reserved.v1' THEN 'reserved' ELSE 'ended' END AS what,
    CASE type
        WHEN 'halfpenny.call.settled.v1' THEN outcome
        WHEN 'halfpenny.call.voided.v1' THEN 'voided'
        WHEN 'halfpenny.call.orphaned.v1' THEN 'orphaned'
        ELSE coalesce(refusal, '')
    END AS name,
    count(*) AS attempts,
    0::DECIMAL(38, 12) AS usd
FROM events
WHERE type IN (
    'halfpenny.call.reserved.v1', 'halfpenny.call.settled.v1', 'halfpenny.call.voided.v1', 'halfpenny.call.orphaned.v1',
    'halfpenny.call.refused.v1'
) AND client_id = $client AND period = $period
GROUP BY what, name ORDER BY what, name;
