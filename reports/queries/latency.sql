-- latency: durations of replies. Grain: (arm, request_model), and (NULL, NULL, is_total) for all. Units: seconds, exact values that occurred.
SELECT
    CASE WHEN arm IS NULL THEN request_model END AS direct_model,
    arm,
    quantile_disc(duration_s, 0.5) AS p50_s,
    quantile_disc(duration_s, 0.95) AS p95_s,
    count(*) FILTER (WHERE duration_source = 'simulated') AS simulated
FROM events
WHERE type = 'halfpenny.call.settled.v1' AND client_id = $client AND period = $period AND purpose = 'generation' AND outcome = 'ok'
GROUP BY ALL
ORDER BY arm NULLS LAST, direct_model NULLS FIRST;
