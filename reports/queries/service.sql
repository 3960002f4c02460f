-- service: how fast replies came and how many attempts there were. Grain: one row. Units: seconds, values that occurred.
SELECT
    quantile_disc(duration_s, 0.5) FILTER (WHERE is_reply),
    quantile_disc(duration_s, 0.95) FILTER (WHERE is_reply),
    quantile_disc(response_time_to_first_chunk, 0.5) FILTER (WHERE is_reply),
    quantile_disc(response_time_to_first_chunk, 0.95) FILTER (WHERE is_reply),
    count(*),
    count(*) FILTER (WHERE attempt > 1),
    count(*) FILTER (WHERE outcome IS DISTINCT FROM 'ok')
FROM (
    SELECT duration_s, response_time_to_first_chunk, attempt, outcome, coalesce(purpose = 'generation' AND outcome = 'ok', FALSE) AS is_reply
    FROM events
    WHERE type IN ('halfpenny.call.settled.v1', 'halfpenny.call.voided.v1') AND client_id = $client AND period = $period
);
