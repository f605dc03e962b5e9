-- Takes away what evaluates alerts; rules, alerts and silences stay.
--
-- Locks: none but the functions' own.
DROP FUNCTION /* TEMPLATE: schema */save_alerts, /* TEMPLATE: schema */prune_alerts;
