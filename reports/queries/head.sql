-- head: the event at a position: what the chain says there.
SELECT source, hash FROM all_events WHERE sequence = $sequence;
