-- weeks: what humans did with the drafts of each week. Grain: (monday, arm, request_model).
-- A draft belongs to the week in which it was written, in the client's zone, however late the human was: that of its id unless it
-- is a stray (strays.sql), and the edit's own for an id that says nothing. The month's edits are the sum of these rows.
SELECT
    coalesce(
        s.monday,
        CASE
            WHEN e.call_id < $id_0 THEN NULL WHEN e.call_id < $id_1 THEN $monday_0 WHEN e.call_id < $id_2 THEN $monday_1
            WHEN e.call_id < $id_3 THEN $monday_2 WHEN e.call_id < $id_4 THEN $monday_3 WHEN e.call_id < $id_5 THEN $monday_4
            WHEN e.call_id < $id_6 THEN $monday_5
        END,
        date_trunc('week', timezone($zone, e.time))::DATE
    ) AS monday,
    CASE WHEN e.arm IS NULL THEN e.request_model END AS direct_model,
    e.arm,
    count(*),
    count(*) FILTER (WHERE e.disposition IN ('as_is', 'edited')),
    count(*) FILTER (WHERE e.disposition <> 'as_is'),
    count(*) FILTER (WHERE e.disposition = 'rewritten'),
    count(*) FILTER (WHERE e.disposition = 'discarded'),
    count(e.edit_ratio),
    coalesce(sum(e.edit_ratio), 0::DECIMAL(38, 6)),
    coalesce(sum(e.edit_ratio * e.edit_ratio), 0::DECIMAL(38, 12)),
    count(e.edit_seconds),
    coalesce(sum(e.edit_seconds), 0::DECIMAL(38, 6)),
    0,
    0::DECIMAL(38, 6)
FROM events AS e LEFT JOIN strays AS s ON s.call_id = e.call_id
WHERE e.type = 'halfpenny.draft.edited.v1' AND e.client_id = $client AND e.period = $period
GROUP BY ALL
ORDER BY monday, e.arm NULLS LAST, direct_model NULLS FIRST;
