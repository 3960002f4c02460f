-- months: spend and repriced baseline of the client's months before this one. Grain: period. Units: exact USD.
SELECT period, spend_usd, saved_usd FROM savings WHERE client_id = $client AND period < $period ORDER BY period;
