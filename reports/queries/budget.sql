-- budget: the client's own cap in force at the month's end.
SELECT cap_usd, hard FROM events
WHERE type = 'halfpenny.budget.set.v1' AND scope = 'client' AND subject = $client AND valid_from < $ends_at
ORDER BY valid_from DESC, sequence DESC LIMIT 1;
