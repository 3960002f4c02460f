-- fx: the rate between USD and a currency at the month's end, whichever way round it was written.
-- The one valid last among those known at the position. A month may have been closed before any was known: then the first
-- one recorded afterwards, which no later one displaces, so that the report still never changes. Read from all events.
SELECT subject, base_currency, rate, valid_from, rate_source FROM all_events
WHERE type = 'halfpenny.fx.recorded.v1' AND valid_from < $ends_at
    AND ((base_currency = 'USD' AND quote_currency = $currency) OR (base_currency = $currency AND quote_currency = 'USD'))
ORDER BY
    sequence > $sequence,
    CASE WHEN sequence <= $sequence THEN valid_from END DESC NULLS LAST,
    CASE WHEN sequence <= $sequence THEN -sequence ELSE sequence END
LIMIT 1;
