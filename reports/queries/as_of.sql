-- as_of: the last moment the month knows of: a call begun or refused, an edit, a score.
SELECT max(time) FROM events
WHERE client_id = $client AND period = $period
    AND type IN ('halfpenny.call.reserved.v1', 'halfpenny.call.refused.v1', 'halfpenny.draft.edited.v1', 'halfpenny.score.recorded.v1');
