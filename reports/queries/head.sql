-- head: the event at a position: what the chain says there.
SELECT source, hash FROM ledger.events WHERE sequence = $sequence;
