-- invoice: the last provider's invoice held against the month, the client's own or one over all clients. Units: exact USD.
-- Read from all events: an invoice comes after the month is closed and changes no figure of it.
SELECT
    subject, invoice_usd, ledger_usd, residual_missing_usd, residual_duplicate_usd, residual_price_usd, residual_class_usd,
    residual_clock_usd, residual_rounding_usd, within_tolerance
FROM all_events
WHERE type = 'halfpenny.invoice.recorded.v1' AND period = $period AND coalesce(client_id, $client) = $client
ORDER BY sequence DESC LIMIT 1;
