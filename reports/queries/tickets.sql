-- tickets: how many different tickets got a reply.
SELECT count(DISTINCT ticket_id) FROM events
WHERE type = 'halfpenny.call.settled.v1' AND client_id = $client AND period = $period AND purpose = 'generation' AND outcome = 'ok';
