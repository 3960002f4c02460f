-- quality: the month's rows of quality, classes added up. Grain: (arm, request_model).
SELECT
    CASE WHEN arm IS NULL THEN request_model END AS direct_model,
    arm,
    sum(edits), sum(accepted), sum(touched), sum(rewritten), sum(discarded), sum(measured),
    sum(edit_ratio_sum), sum(edit_ratio_square_sum), sum(timed), sum(edit_seconds_sum), sum(coherence_scores), sum(coherence_sum)
FROM quality
WHERE client_id = $client AND period = $period
GROUP BY ALL
ORDER BY arm NULLS LAST, direct_model NULLS FIRST;
