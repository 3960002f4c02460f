-- client: who the report is for.
SELECT subject, display_name, currency, zone, edit_usd_per_hour FROM all_events
WHERE type = 'halfpenny.client.added.v1' AND subject = $client
ORDER BY sequence LIMIT 1;
