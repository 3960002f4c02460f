-- months: spend and repriced baseline of the client's months up to this one. Grain: period. Units: exact USD.
SELECT period, spend_usd, saved_usd FROM savings WHERE client_id = $client AND period <= $period ORDER BY period;
