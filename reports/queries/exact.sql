-- exact: the durations and first chunks that lie in a few hundredths of a second. Grain: (what, lane, value). Units: seconds.
SELECT
    CASE WHEN grouping(duration_s) = 0 THEN 'duration' ELSE 'first_chunk' END AS what,
    direct_model,
    arm,
    coalesce(duration_s, first_chunk_s) AS value,
    count(*) AS replies
FROM (
    SELECT
        CASE WHEN arm IS NULL THEN request_model END AS direct_model,
        arm,
        CASE WHEN list_contains($durations::BIGINT[], floor(duration_s::DOUBLE * 100)::BIGINT) THEN duration_s END AS duration_s,
        CASE WHEN list_contains($first_chunks::BIGINT[], floor(response_time_to_first_chunk::DOUBLE * 100)::BIGINT)
            THEN response_time_to_first_chunk END AS first_chunk_s
    FROM events
    WHERE type = 'halfpenny.call.settled.v1' AND client_id = $client AND period = $period AND purpose = 'generation' AND outcome = 'ok'
)
WHERE duration_s IS NOT NULL OR first_chunk_s IS NOT NULL
GROUP BY GROUPING SETS ((direct_model, arm, duration_s), (first_chunk_s))
ORDER BY ALL;
