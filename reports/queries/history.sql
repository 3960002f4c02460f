-- history: the old bot's bills by day. Grain: (day, UTC, and kind of bill). Units: exact USD, tokens, tickets.
-- A day is told whole by the last import that has it. A costs export has amounts; a usage export tokens alone.
WITH lines AS (
    SELECT
        starts_at, bill_kind, import_id, cost_usd, usage_input_tokens, usage_cache_read_input_tokens, usage_output_tokens,
        tickets, monthly_tickets, sequence
    FROM events WHERE type = 'halfpenny.bill.imported.v1' AND client_id = $client
),
last AS (
    SELECT starts_at, bill_kind, arg_max(import_id, sequence) AS import_id FROM lines GROUP BY starts_at, bill_kind
),
buckets AS (
    SELECT
        starts_at,
        bill_kind,
        sum(cost_usd)::DECIMAL(38, 12) AS cost_usd,
        sum(usage_input_tokens) AS tokens_in,
        sum(usage_cache_read_input_tokens) AS cached,
        sum(usage_output_tokens) AS tokens_out,
        max(tickets) AS tickets,
        max(monthly_tickets) AS monthly_tickets
    FROM lines JOIN last USING (starts_at, bill_kind, import_id)
    GROUP BY starts_at, bill_kind
)
SELECT
    timezone('UTC', starts_at)::DATE AS day,
    bill_kind,
    sum(cost_usd)::DECIMAL(38, 12),
    coalesce(sum(tokens_in), 0)::BIGINT,
    coalesce(sum(cached), 0)::BIGINT,
    coalesce(sum(tokens_out), 0)::BIGINT,
    max(tickets),
    max(monthly_tickets)
FROM buckets GROUP BY day, bill_kind ORDER BY day, bill_kind;
