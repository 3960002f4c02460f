-- attempts: what happened, counted once. Grain: (type, name, is_repeated); `name` is an end's outcome or a refusal's kind.
-- One read of the month gives its outcomes, its service figures and its last moment.
SELECT type, coalesce(outcome, refusal, '') AS name, coalesce(attempt > 1, FALSE) AS is_repeated, count(*), max(time)
FROM events
WHERE type IN (
    'halfpenny.call.reserved.v1', 'halfpenny.call.settled.v1', 'halfpenny.call.voided.v1', 'halfpenny.call.orphaned.v1',
    'halfpenny.call.refused.v1', 'halfpenny.call.cached.v1', 'halfpenny.draft.edited.v1', 'halfpenny.score.recorded.v1'
) AND client_id = $client AND period = $period
GROUP BY ALL ORDER BY ALL;
