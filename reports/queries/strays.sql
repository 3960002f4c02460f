-- strays: drafts whose id does not lie in the week in which they were written. Grain: call_id; kept as a table for `weeks`.
-- An id is a UUIDv7 and begins with its own moment, so text before `id_2` was minted before the second Monday. That is checked here
-- draft by draft, so that `weeks` need not join millions of edits to millions of drafts but only to the few that differ: calls that
-- waited over midnight, or all of them in a home whose ids or clock are not of this world.
CREATE OR REPLACE TEMP TABLE strays AS
WITH drafts AS (
    SELECT
        subject AS call_id,
        CASE
            WHEN time < $start_1 THEN $monday_0 WHEN time < $start_2 THEN $monday_1 WHEN time < $start_3 THEN $monday_2
            WHEN time < $start_4 THEN $monday_3 WHEN time < $start_5 THEN $monday_4 ELSE $monday_5
        END AS monday,
        CASE
            WHEN subject < $id_0 THEN NULL WHEN subject < $id_1 THEN $monday_0 WHEN subject < $id_2 THEN $monday_1
            WHEN subject < $id_3 THEN $monday_2 WHEN subject < $id_4 THEN $monday_3 WHEN subject < $id_5 THEN $monday_4
            WHEN subject < $id_6 THEN $monday_5
        END AS monday_of_id
    FROM events
    WHERE type IN ('halfpenny.call.reserved.v1', 'halfpenny.call.cached.v1') AND client_id = $client AND period = $period
        AND purpose = 'generation' AND coalesce(attempt, 1) = 1
)
SELECT call_id, monday FROM drafts WHERE monday_of_id IS DISTINCT FROM monday;
