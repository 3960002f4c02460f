-- replies: how long they took and when they began. Grain: three, told apart by `what`:
-- (arm, direct_model, duration_source, hundredth) for durations, (hundredth) for first chunks, (quarter) of an hour for beginnings.
-- A hundredth of a second is how finely quantiles are looked for at first; see exact.sql. One scan, and memory for the groups alone.
SELECT
    CASE WHEN grouping(duration) = 0 THEN 'duration' WHEN grouping(first_chunk) = 0 THEN 'first_chunk' ELSE 'quarter' END AS what,
    direct_model,
    arm,
    duration_source,
    coalesce(duration, first_chunk, quarter) AS place,
    count(*) AS replies
FROM (
    SELECT
        CASE WHEN arm IS NULL THEN request_model END AS direct_model,
        arm,
        duration_source,
        floor(duration_s::DOUBLE * 100)::BIGINT AS duration,
        floor(response_time_to_first_chunk::DOUBLE * 100)::BIGINT AS first_chunk,
        epoch_us(reserved_at) // 900000000 AS quarter
    FROM events
    WHERE type = 'halfpenny.call.settled.v1' AND client_id = $client AND period = $period AND purpose = 'generation' AND outcome = 'ok'
)
GROUP BY GROUPING SETS ((direct_model, arm, duration_source, duration), (first_chunk), (quarter))
ORDER BY ALL;
