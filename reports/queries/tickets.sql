-- tickets: how many different tickets got a reply, from a model or from the cache.
SELECT count(DISTINCT ticket_id) FROM events
WHERE client_id = $client AND period = $period AND purpose = 'generation'
    AND ((type = 'halfpenny.call.settled.v1' AND outcome = 'ok') OR type = 'halfpenny.call.cached.v1');
