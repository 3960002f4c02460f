-- weeks: what humans did with the drafts of each week. Grain: (monday, arm, request_model).
-- A draft belongs to the week in which it was written, in the client's zone, however late the human was.
-- A call has one first attempt, so nothing has to be grouped before the join.
WITH drafts AS (
    SELECT subject AS call_id, time AS reserved_at FROM events
    WHERE type = 'halfpenny.call.reserved.v1' AND client_id = $client AND period = $period AND purpose = 'generation' AND attempt = 1
)
SELECT
    date_trunc('week', timezone($zone, coalesce(d.reserved_at, e.edited_at)))::DATE AS monday,
    CASE WHEN e.arm IS NULL THEN e.request_model END AS direct_model,
    e.arm,
    count(*),
    count(*) FILTER (WHERE e.is_accepted),
    count(*) FILTER (WHERE e.is_touched),
    count(*) FILTER (WHERE e.disposition = 'rewritten'),
    count(*) FILTER (WHERE e.disposition = 'discarded'),
    count(e.edit_ratio),
    coalesce(sum(e.edit_ratio), 0::DECIMAL(38, 6)),
    coalesce(sum(e.edit_ratio * e.edit_ratio), 0::DECIMAL(38, 12)),
    count(e.edit_seconds),
    coalesce(sum(e.edit_seconds), 0::DECIMAL(38, 6)),
    0,
    0::DECIMAL(38, 6)
FROM edits AS e LEFT JOIN drafts AS d ON d.call_id = e.call_id
WHERE e.client_id = $client AND e.period = $period
GROUP BY ALL
ORDER BY monday, e.arm NULLS LAST, direct_model NULLS FIRST;
