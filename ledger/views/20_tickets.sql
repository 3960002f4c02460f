-- tickets: one row per ticket that any call was made for, with what it cost and what became of its draft.
-- Grain:  (client_id, ticket_id).
-- Units:  USD exact, DECIMAL(38,12); edit_ratio a share 0..1; seconds with six decimals.
-- Zone:   moments are UTC instants; period is the client's month of the first call.
-- Source: call.reserved, call.settled, call.corrected, call.cached, draft.edited, score.recorded. Of several drafts or edits the last one counts.
CREATE OR REPLACE VIEW tickets AS
SELECT
    client_id,
    ticket_id,
    min(period) AS period,
    min(time) FILTER (WHERE type IN ('halfpenny.call.reserved.v1', 'halfpenny.call.cached.v1')) AS first_call_at,
    arg_max(ticket_class, sequence) FILTER (WHERE purpose = 'generation' AND (outcome IN ('ok', 'client_gone') OR type = 'halfpenny.call.cached.v1'))
        AS ticket_class,
    arg_max(arm, sequence) FILTER (WHERE purpose = 'generation' AND (outcome IN ('ok', 'client_gone') OR type = 'halfpenny.call.cached.v1'))
        AS arm,
    arg_max(coalesce(response_model, request_model), sequence)
        FILTER (WHERE purpose = 'generation' AND (outcome IN ('ok', 'client_gone') OR type = 'halfpenny.call.cached.v1')) AS model,
    arg_max(subject, sequence) FILTER (WHERE purpose = 'generation' AND (outcome IN ('ok', 'client_gone') OR type = 'halfpenny.call.cached.v1'))
        AS draft_call_id,
    count(*) FILTER (WHERE type = 'halfpenny.call.reserved.v1') AS attempts,
    count(*) FILTER (WHERE type = 'halfpenny.call.settled.v1') AS settled_calls,
    coalesce(sum(cost_usd) FILTER (WHERE type = 'halfpenny.call.settled.v1'), 0::DECIMAL(38, 12))
        + coalesce(sum(difference_usd), 0::DECIMAL(38, 12)) AS cost_usd,
    count(*) FILTER (WHERE type = 'halfpenny.call.settled.v1' AND usage_source = 'estimated') AS estimated_calls,
    count(*) FILTER (WHERE type = 'halfpenny.draft.edited.v1') AS edits,
    arg_max(disposition, sequence) FILTER (WHERE type = 'halfpenny.draft.edited.v1') AS disposition,
    arg_max(edit_ratio, sequence) FILTER (WHERE type = 'halfpenny.draft.edited.v1') AS edit_ratio,
    sum(edit_seconds) FILTER (WHERE type = 'halfpenny.draft.edited.v1') AS edit_seconds,
    max(time) FILTER (WHERE type = 'halfpenny.draft.edited.v1') AS edited_at,
    sum(value) FILTER (WHERE type = 'halfpenny.score.recorded.v1' AND criterion = 'coherence') AS coherence_sum,
    count(*) FILTER (WHERE type = 'halfpenny.score.recorded.v1' AND criterion = 'coherence') AS coherence_scores,
    count(*) FILTER (WHERE type = 'halfpenny.call.cached.v1') AS cached_calls,
    coalesce(sum(avoided_usd), 0::DECIMAL(38, 12)) AS avoided_usd
FROM events
WHERE ticket_id IS NOT NULL
    AND type IN (
        'halfpenny.call.reserved.v1', 'halfpenny.call.settled.v1', 'halfpenny.call.corrected.v1', 'halfpenny.call.cached.v1',
        'halfpenny.draft.edited.v1', 'halfpenny.score.recorded.v1'
    )
GROUP BY client_id, ticket_id;

COMMENT ON VIEW tickets IS 'One row per ticket: its class and arm, the cost of all its calls, and what a human did with the last draft.';
COMMENT ON COLUMN tickets.client_id IS 'whose ticket it is';
COMMENT ON COLUMN tickets.ticket_id IS 'the ticket; an HMAC when the client is private';
COMMENT ON COLUMN tickets.period IS 'month of its first call, YYYY-MM, in the client''s zone';
COMMENT ON COLUMN tickets.first_call_at IS 'UTC; when money was first set aside for it, or a reply was served from the cache';
COMMENT ON COLUMN tickets.ticket_class IS 'simple or complex, of the last draft; absent without a draft';
COMMENT ON COLUMN tickets.arm IS 'arm of the last draft; absent without a draft or when not routed';
COMMENT ON COLUMN tickets.model IS 'model that wrote the last draft';
COMMENT ON COLUMN tickets.draft_call_id IS 'call that wrote the last draft';
COMMENT ON COLUMN tickets.attempts IS 'attempts of all its calls, whatever became of them';
COMMENT ON COLUMN tickets.settled_calls IS 'attempts that were, or may have been, billed';
COMMENT ON COLUMN tickets.cost_usd IS 'USD of all its settled attempts as now known, exact, every purpose included';
COMMENT ON COLUMN tickets.estimated_calls IS 'settled attempts whose cost is the hold, since usage was not known';
COMMENT ON COLUMN tickets.edits IS 'how often a human was done with a draft of it';
COMMENT ON COLUMN tickets.disposition IS 'as_is, edited, rewritten or discarded, the last time; absent when no human was done yet';
COMMENT ON COLUMN tickets.edit_ratio IS '0..1, share of the draft''s characters changed, the last time; absent when not measured';
COMMENT ON COLUMN tickets.edit_seconds IS 'seconds a human spent, all times together; absent when not measured';
COMMENT ON COLUMN tickets.edited_at IS 'UTC; when a human was last done with it';
COMMENT ON COLUMN tickets.coherence_sum IS 'sum of coherence scores, each 0..1; absent without any';
COMMENT ON COLUMN tickets.coherence_scores IS 'how many coherence scores there are';
COMMENT ON COLUMN tickets.cached_calls IS 'calls that were answered from the cache instead';
COMMENT ON COLUMN tickets.avoided_usd IS 'USD these would have cost';
