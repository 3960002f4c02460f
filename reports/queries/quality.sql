-- quality: what humans and judges made of a month's drafts, all of them together. Grain: at most one row.
-- The view of this name has the same sums by class and beside the number of drafts, which is the dearer half and not asked here.
SELECT
    count(*) FILTER (WHERE type = 'halfpenny.draft.edited.v1'),
    count(*) FILTER (WHERE disposition IN ('as_is', 'edited')),
    count(*) FILTER (WHERE disposition <> 'as_is'),
    count(*) FILTER (WHERE disposition = 'rewritten'),
    count(*) FILTER (WHERE disposition = 'discarded'),
    count(edit_ratio),
    coalesce(sum(edit_ratio), 0::DECIMAL(38, 6)),
    coalesce(sum(edit_ratio * edit_ratio), 0::DECIMAL(38, 12)),
    count(edit_seconds),
    coalesce(sum(edit_seconds), 0::DECIMAL(38, 6)),
    count(value),
    coalesce(sum(value), 0::DECIMAL(38, 6))
FROM events
WHERE (type = 'halfpenny.draft.edited.v1' OR (type = 'halfpenny.score.recorded.v1' AND criterion = 'coherence'))
    AND client_id = $client AND period = $period
HAVING count(*) > 0;
