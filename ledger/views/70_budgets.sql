-- budgets: what was granted, settled, held and is left, for every scope and month that has a call or a refusal.
-- Grain:  (scope, scope_id, period).
-- Units:  USD exact, DECIMAL(38,12). granted = available + held + orphaned + settled.
-- Zone:   period is a client's month in its own zone; the whole ends its months in UTC.
-- Source: budget.set (the last one from before the month's end), call.reserved, call.settled, call.corrected, call.voided, call.orphaned.
CREATE OR REPLACE VIEW budgets AS
WITH ended AS (
    SELECT subject, attempt, type = 'halfpenny.call.orphaned.v1' AS is_orphan
    FROM events
    WHERE type IN ('halfpenny.call.settled.v1', 'halfpenny.call.voided.v1', 'halfpenny.call.orphaned.v1')
),
amounts AS (
    SELECT client_id, key_id, period, cost_usd AS settled_usd, 0::DECIMAL(18, 12) AS held_usd, 0::DECIMAL(18, 12) AS orphaned_usd
    FROM events WHERE type = 'halfpenny.call.settled.v1'
    UNION ALL
    SELECT client_id, key_id, period, difference_usd, 0, 0 FROM events WHERE type = 'halfpenny.call.corrected.v1'
    UNION ALL
    SELECT client_id, key_id, period, 0, hold_usd, 0
    FROM events AS r
    WHERE type = 'halfpenny.call.reserved.v1'
        AND NOT EXISTS (SELECT 1 FROM ended AS x WHERE x.subject = r.subject AND x.attempt = r.attempt)
    UNION ALL
    SELECT client_id, key_id, period, 0, 0, hold_usd
    FROM events AS o
    WHERE type = 'halfpenny.call.orphaned.v1'
        AND NOT EXISTS (SELECT 1 FROM ended AS x WHERE x.subject = o.subject AND x.attempt = o.attempt AND NOT x.is_orphan)
    UNION ALL
    SELECT client_id, key_id, period, 0, 0, 0
    FROM events WHERE type IN ('halfpenny.call.refused.v1', 'halfpenny.call.voided.v1')
),
parts AS (
    SELECT client_id, key_id, period, sum(settled_usd) AS settled_usd, sum(held_usd) AS held_usd, sum(orphaned_usd) AS orphaned_usd
    FROM amounts GROUP BY ALL
),
scoped AS (
    SELECT 'whole' AS scope, '' AS scope_id, NULL AS client_id, period, settled_usd, held_usd, orphaned_usd FROM parts
    UNION ALL
    SELECT 'client', client_id, client_id, period, settled_usd, held_usd, orphaned_usd FROM parts WHERE client_id IS NOT NULL
    UNION ALL
    SELECT 'key', key_id, client_id, period, settled_usd, held_usd, orphaned_usd FROM parts WHERE key_id IS NOT NULL
),
totals AS (
    SELECT
        scope,
        scope_id,
        any_value(client_id) AS client_id,
        period,
        sum(settled_usd) AS settled_usd,
        sum(held_usd) AS held_usd,
        sum(orphaned_usd) AS orphaned_usd
    FROM scoped GROUP BY scope, scope_id, period
),
zones AS (
    SELECT subject AS client_id, any_value(zone) AS zone
    FROM events WHERE type = 'halfpenny.client.added.v1' GROUP BY subject
),
months AS (
    SELECT
        t.*,
        timezone(
            CASE WHEN t.scope = 'whole' THEN 'UTC' ELSE coalesce(z.zone, 'UTC') END,
            ((t.period || '-01')::DATE + INTERVAL 1 MONTH)::TIMESTAMP
        ) AS ends_at
    FROM totals AS t LEFT JOIN zones AS z ON z.client_id = t.client_id
),
caps AS (
    SELECT scope, CASE WHEN scope = 'whole' THEN '' ELSE subject END AS scope_id, valid_from, sequence, cap_usd, hard
    FROM events WHERE type = 'halfpenny.budget.set.v1'
),
ranked AS (
    SELECT
        m.*,
        c.cap_usd,
        c.hard,
        row_number() OVER (PARTITION BY m.scope, m.scope_id, m.period ORDER BY c.valid_from DESC NULLS LAST, c.sequence DESC NULLS LAST)
            AS place
    FROM months AS m
    LEFT JOIN caps AS c ON c.scope = m.scope AND c.scope_id = m.scope_id AND c.valid_from < m.ends_at
)
SELECT
    scope,
    scope_id,
    period,
    ends_at,
    cap_usd,
    coalesce(hard AND cap_usd IS NOT NULL, FALSE) AS is_hard,
    settled_usd,
    held_usd,
    orphaned_usd,
    cap_usd - settled_usd - held_usd - orphaned_usd AS available_usd
FROM ranked
WHERE place = 1;

COMMENT ON VIEW budgets IS 'One row per scope and month with any activity: the cap, what is settled, held and orphaned, and what is left.';
COMMENT ON COLUMN budgets.scope IS 'whole, client or key';
COMMENT ON COLUMN budgets.scope_id IS 'client id or key id; empty for the whole';
COMMENT ON COLUMN budgets.period IS 'month, YYYY-MM, in the client''s zone';
COMMENT ON COLUMN budgets.ends_at IS 'UTC; the month''s end in the scope''s zone, exclusive';
COMMENT ON COLUMN budgets.cap_usd IS 'USD granted; absent when no cap is set';
COMMENT ON COLUMN budgets.is_hard IS 'whether a call that does not fit is refused';
COMMENT ON COLUMN budgets.settled_usd IS 'USD of settled attempts as now known, exact';
COMMENT ON COLUMN budgets.held_usd IS 'USD set aside for calls in flight';
COMMENT ON COLUMN budgets.orphaned_usd IS 'USD held for calls whose end is unknown';
COMMENT ON COLUMN budgets.available_usd IS 'USD left; negative once a cap was lowered, or a correction lifted the spend, beyond it; absent without a cap';
