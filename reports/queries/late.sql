-- late: facts of a month that were recorded after the events its report is made of. Grain: kind of fact. Units: exact USD.
-- What they cost is an adjustment of the next month's bill unless the month is restated.
SELECT
    CASE type
        WHEN 'halfpenny.call.settled.v1' THEN 'settled'
        WHEN 'halfpenny.call.voided.v1' THEN 'not_billed'
        WHEN 'halfpenny.call.corrected.v1' THEN 'corrected'
        WHEN 'halfpenny.draft.edited.v1' THEN 'edited'
        ELSE 'scored'
    END AS kind,
    count(*) AS facts,
    coalesce(sum(coalesce(difference_usd, cost_usd)), 0)::DECIMAL(38, 12) AS cost_usd
FROM all_events
WHERE client_id = $client AND period = $period AND sequence > $after AND sequence <= $up_to
    AND type IN (
        'halfpenny.call.settled.v1', 'halfpenny.call.voided.v1', 'halfpenny.call.corrected.v1',
        'halfpenny.draft.edited.v1', 'halfpenny.score.recorded.v1'
    )
GROUP BY kind ORDER BY kind;
