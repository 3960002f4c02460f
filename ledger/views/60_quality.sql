-- quality: what humans and judges made of the drafts of a month.
-- Grain:  (client_id, period, arm, request_model, ticket_class).
-- Units:  ratios and scores are shares 0..1; sums are exact so that parts add up; minutes are 60 seconds.
-- Zone:   period is that of the drafting call, the client's month in its own zone.
-- Source: call.settled (drafts), draft.edited (each time a human was done counts), score.recorded (criterion coherence).
CREATE OR REPLACE VIEW quality AS
WITH sums AS (
    SELECT
        client_id,
        period,
        arm,
        request_model,
        ticket_class,
        count(*) FILTER (WHERE type = 'halfpenny.call.settled.v1') AS drafts,
        count(*) FILTER (WHERE type = 'halfpenny.draft.edited.v1') AS edits,
        count(*) FILTER (WHERE type = 'halfpenny.draft.edited.v1' AND disposition = 'as_is') AS sent_as_is,
        count(*) FILTER (WHERE type = 'halfpenny.draft.edited.v1' AND disposition = 'edited') AS sent_edited,
        count(*) FILTER (WHERE type = 'halfpenny.draft.edited.v1' AND disposition = 'rewritten') AS rewritten,
        count(*) FILTER (WHERE type = 'halfpenny.draft.edited.v1' AND disposition = 'discarded') AS discarded,
        count(edit_ratio) AS measured,
        coalesce(sum(edit_ratio), 0::DECIMAL(38, 6)) AS edit_ratio_sum,
        coalesce(sum(edit_ratio * edit_ratio), 0::DECIMAL(38, 12)) AS edit_ratio_square_sum,
        count(edit_seconds) AS timed,
        coalesce(sum(edit_seconds), 0::DECIMAL(38, 6)) AS edit_seconds_sum,
        count(value) AS coherence_scores,
        coalesce(sum(value), 0::DECIMAL(38, 6)) AS coherence_sum
    FROM events
    WHERE (type = 'halfpenny.call.settled.v1' AND purpose = 'generation' AND outcome IN ('ok', 'client_gone'))
        OR type = 'halfpenny.draft.edited.v1'
        OR (type = 'halfpenny.score.recorded.v1' AND criterion = 'coherence')
    GROUP BY client_id, period, arm, request_model, ticket_class
)
SELECT
    client_id,
    period,
    arm,
    request_model,
    ticket_class,
    drafts,
    edits,
    sent_as_is,
    sent_edited,
    rewritten,
    discarded,
    sent_as_is + sent_edited AS accepted,
    edits - sent_as_is AS touched,
    measured,
    edit_ratio_sum,
    edit_ratio_square_sum,
    -- rounded half up in whole millionths: a division of decimals would go through a double
    CASE WHEN measured > 0 THEN CAST(
        ((2 * edit_ratio_sum * 1000000 + measured)::HUGEINT // (2 * measured))::DECIMAL(12, 0) * 0.000001::DECIMAL(7, 6) AS DECIMAL(9, 6)
    ) END AS mean_edit_ratio,
    timed,
    edit_seconds_sum,
    CAST((2 * edit_seconds_sum * 1000 + 60)::HUGEINT // 120 AS DECIMAL(31, 0)) * 0.001::DECIMAL(4, 3) AS edit_minutes,
    coherence_scores,
    coherence_sum,
    CASE WHEN coherence_scores > 0 THEN CAST(
        ((2 * coherence_sum * 1000000 + coherence_scores)::HUGEINT // (2 * coherence_scores))::DECIMAL(12, 0) * 0.000001::DECIMAL(7, 6)
        AS DECIMAL(9, 6)
    ) END AS mean_coherence
FROM sums;

COMMENT ON VIEW quality IS 'One row per client, month, arm, model and class: drafts, what humans did with them, minutes, coherence.';
COMMENT ON COLUMN quality.client_id IS 'whose drafts they are';
COMMENT ON COLUMN quality.period IS 'month of the drafting call, YYYY-MM, in the client''s zone';
COMMENT ON COLUMN quality.arm IS 'arm that wrote them; absent when not routed';
COMMENT ON COLUMN quality.request_model IS 'model that was asked';
COMMENT ON COLUMN quality.ticket_class IS 'simple or complex; absent when not classified';
COMMENT ON COLUMN quality.drafts IS 'replies written: generation calls with outcome ok or client_gone';
COMMENT ON COLUMN quality.edits IS 'how often a human was done with one';
COMMENT ON COLUMN quality.sent_as_is IS 'of the edits, those sent unchanged';
COMMENT ON COLUMN quality.sent_edited IS 'of the edits, those sent after changes';
COMMENT ON COLUMN quality.rewritten IS 'of the edits, those written anew';
COMMENT ON COLUMN quality.discarded IS 'of the edits, those thrown away';
COMMENT ON COLUMN quality.accepted IS 'sent_as_is + sent_edited';
COMMENT ON COLUMN quality.touched IS 'edits that were not sent unchanged';
COMMENT ON COLUMN quality.measured IS 'edits whose edit_ratio is known';
COMMENT ON COLUMN quality.edit_ratio_sum IS 'sum of edit_ratio, exact; a share is this divided by measured';
COMMENT ON COLUMN quality.edit_ratio_square_sum IS 'sum of squared edit_ratio, exact, for intervals';
COMMENT ON COLUMN quality.mean_edit_ratio IS '0..1, the edit rate: mean share of a draft''s characters changed, rounded half up';
COMMENT ON COLUMN quality.timed IS 'edits whose seconds are known';
COMMENT ON COLUMN quality.edit_seconds_sum IS 'seconds, exact';
COMMENT ON COLUMN quality.edit_minutes IS 'edit_seconds_sum in minutes, rounded half up to three decimals';
COMMENT ON COLUMN quality.coherence_scores IS 'how many coherence scores there are';
COMMENT ON COLUMN quality.coherence_sum IS 'sum of coherence scores, exact';
COMMENT ON COLUMN quality.mean_coherence IS '0..1, rounded half up; absent without scores';
