-- position: the last event a client's month is made of, and whether the month was closed, or restated, there.
-- Grain:  one row. Read from all events, before they are limited. A restatement goes further than the close; the last one counts.
-- While a month is open, other clients' events and issued reports do not move it, so that nothing new gives nothing new.
-- Three small reads and not one: each filter then skips what it does not need.
SELECT
    (
        SELECT coalesce(
            arg_max(up_to_sequence, sequence) FILTER (WHERE type = 'halfpenny.month.restated.v1'),
            max(up_to_sequence) FILTER (WHERE type = 'halfpenny.month.closed.v1')
        )
        FROM all_events
        WHERE type IN ('halfpenny.month.closed.v1', 'halfpenny.month.restated.v1') AND subject = $client AND period = $period
    ) AS closed_at,
    greatest(
        (
            SELECT max(sequence) FROM all_events
            WHERE client_id = $client AND type NOT IN (
                'halfpenny.report.issued.v1', 'halfpenny.report.delivered.v1', 'halfpenny.invoice.recorded.v1',
                'halfpenny.month.closed.v1', 'halfpenny.month.restated.v1'
            )
        ),
        (
            SELECT max(sequence) FROM all_events
            WHERE type IN ('halfpenny.price.listed.v1', 'halfpenny.baseline.set.v1', 'halfpenny.fx.recorded.v1')
                OR (type IN ('halfpenny.client.added.v1', 'halfpenny.budget.set.v1') AND subject = $client)
        )
    ) AS last_sequence,
    (
        SELECT count(*) FROM all_events
        WHERE type = 'halfpenny.month.restated.v1' AND subject = $client AND period = $period
    ) AS restatements;
