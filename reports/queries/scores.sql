-- scores: what judges said of the month's drafts. Grain: (arm, request_model).
SELECT
    CASE WHEN arm IS NULL THEN request_model END AS direct_model, arm,
    0, 0, 0, 0, 0, 0, 0::DECIMAL(38, 6), 0::DECIMAL(38, 12), 0, 0::DECIMAL(38, 6), count(value), coalesce(sum(value), 0::DECIMAL(38, 6))
FROM events
WHERE type = 'halfpenny.score.recorded.v1' AND criterion = 'coherence' AND client_id = $client AND period = $period
GROUP BY ALL
ORDER BY arm NULLS LAST, direct_model NULLS FIRST;
