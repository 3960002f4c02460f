-- hours: what was worked for the client up to the end of the month. Grain: (activity, hourly_rate, currency), by its first day.
SELECT activity, hourly_rate, currency, sum(hours) AS hours FROM events
WHERE type = 'halfpenny.hours.logged.v1' AND subject = $client AND period <= $period
GROUP BY activity, hourly_rate, currency
ORDER BY min(worked_on), activity, hourly_rate NULLS LAST;
