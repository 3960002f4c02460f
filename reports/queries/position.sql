-- position: the last event a client's month is made of, and whether the month was closed there.
-- Grain:  one row. Read from all events, before they are limited.
-- While a month is open, other clients' events and issued reports do not move it, so that nothing new gives nothing new.
SELECT
    max(up_to_sequence) FILTER (WHERE type = 'halfpenny.month.closed.v1' AND subject = $client AND period = $period) AS closed_at,
    max(sequence) FILTER (
        WHERE type NOT IN ('halfpenny.report.issued.v1', 'halfpenny.month.closed.v1')
            AND (
                client_id = $client
                OR subject = $client
                OR type IN ('halfpenny.price.listed.v1', 'halfpenny.baseline.set.v1', 'halfpenny.fx.recorded.v1')
            )
    ) AS last_sequence
FROM ledger.events;
