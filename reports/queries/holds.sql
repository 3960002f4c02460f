-- holds: what is held without an end. Grain: name, open or orphaned. Units: exact USD.
-- Every end has its hold and no attempt ends twice, so of a bucket of attempts with as many ends as holds none is open. A hundred
-- million attempts need no join then, only those in the few buckets where the counts differ.
WITH mine AS (
    SELECT type, subject, attempt, hold_usd, hash(subject, attempt) % 65536 AS bucket
    FROM events
    WHERE type IN ('halfpenny.call.reserved.v1', 'halfpenny.call.settled.v1', 'halfpenny.call.voided.v1', 'halfpenny.call.orphaned.v1')
        AND client_id = $client AND period = $period
),
uneven AS (
    SELECT bucket FROM mine GROUP BY bucket
    HAVING count(*) FILTER (WHERE type = 'halfpenny.call.reserved.v1')
        <> count(*) FILTER (WHERE type IN ('halfpenny.call.settled.v1', 'halfpenny.call.voided.v1'))
),
looked_at AS (SELECT * FROM mine WHERE bucket IN (SELECT bucket FROM uneven)),
attempts AS (
    SELECT
        max(hold_usd) FILTER (WHERE type = 'halfpenny.call.reserved.v1') AS hold_usd,
        count(*) FILTER (WHERE type IN ('halfpenny.call.settled.v1', 'halfpenny.call.voided.v1')) AS ends,
        count(*) FILTER (WHERE type = 'halfpenny.call.orphaned.v1') AS orphans
    FROM looked_at GROUP BY subject, attempt
)
SELECT 'ended', CASE WHEN orphans > 0 THEN 'orphaned' ELSE 'open' END AS name, count(*), sum(hold_usd)
FROM attempts WHERE ends = 0 GROUP BY name ORDER BY name;
