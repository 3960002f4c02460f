-- edits: one row each time a human was done with a draft.
-- Grain:  one draft.edited event.
-- Units:  edit_ratio a share 0..1 with six decimals; seconds with six decimals; characters are counts.
-- Zone:   edited_at is a UTC instant; period is that of the drafting call, in the client's zone.
-- Source: draft.edited.
CREATE OR REPLACE VIEW edits AS
SELECT
    event_id,
    sequence,
    client_id,
    ticket_id,
    call_id,
    period,
    time AS edited_at,
    arm,
    ticket_class,
    request_model,
    disposition,
    disposition IN ('as_is', 'edited') AS is_accepted,
    disposition <> 'as_is' AS is_touched,
    edit_ratio,
    edit_seconds,
    draft_characters,
    final_characters,
    key_id
FROM events
WHERE type = 'halfpenny.draft.edited.v1';

COMMENT ON VIEW edits IS 'One row each time a human was done with a draft.';
COMMENT ON COLUMN edits.event_id IS 'UUIDv7 of the event';
COMMENT ON COLUMN edits.sequence IS 'position in the journal';
COMMENT ON COLUMN edits.client_id IS 'whose draft it is';
COMMENT ON COLUMN edits.ticket_id IS 'ticket of the draft; an HMAC when the client is private';
COMMENT ON COLUMN edits.call_id IS 'call that wrote the draft';
COMMENT ON COLUMN edits.period IS 'month of the drafting call, YYYY-MM, in the client''s zone';
COMMENT ON COLUMN edits.edited_at IS 'UTC; when the human was done';
COMMENT ON COLUMN edits.arm IS 'arm that wrote the draft; absent when not routed';
COMMENT ON COLUMN edits.ticket_class IS 'simple or complex, as the classifier was read';
COMMENT ON COLUMN edits.request_model IS 'model that was asked for the draft';
COMMENT ON COLUMN edits.disposition IS 'as_is, edited, rewritten or discarded';
COMMENT ON COLUMN edits.is_accepted IS 'whether it was sent, as it was or edited';
COMMENT ON COLUMN edits.is_touched IS 'whether anything was changed';
COMMENT ON COLUMN edits.edit_ratio IS '0..1, normalised Levenshtein distance over characters; absent when the draft was not at hand';
COMMENT ON COLUMN edits.edit_seconds IS 'seconds the human spent; absent when not measured';
COMMENT ON COLUMN edits.draft_characters IS 'characters of the draft';
COMMENT ON COLUMN edits.final_characters IS 'characters of what was sent';
COMMENT ON COLUMN edits.key_id IS 'visible beginning of the key that reported it';
