-- closings: where the client's months were closed and told anew, in the order in which it was said. Read from all events.
SELECT period, type = 'halfpenny.month.restated.v1' AS is_again, sequence, up_to_sequence FROM all_events
WHERE type IN ('halfpenny.month.closed.v1', 'halfpenny.month.restated.v1') AND subject = $client
ORDER BY sequence;
