-- Takes the probes away, with all that they have found.
--
-- Locks: ACCESS EXCLUSIVE on the tables and views that go, once those who use them are done.
DROP VIEW /* TEMPLATE: schema */probe_events, /* TEMPLATE: schema */probe_values, /* TEMPLATE: schema */probe_latest, /* TEMPLATE: schema */probes;
DROP TABLE /* TEMPLATE: schema */probe_event, /* TEMPLATE: schema */probe_point, /* TEMPLATE: schema */probe_series, /* TEMPLATE: schema */probe;
DROP FUNCTION /* TEMPLATE: schema */tell_probe_event, /* TEMPLATE: schema */probe_detail;
