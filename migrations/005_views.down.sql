-- Takes the views away.
--
-- Locks: ACCESS EXCLUSIVE on the tables and views that go, once those who use them are done.
DROP VIEW /* TEMPLATE: schema */queues, /* TEMPLATE: schema */kinds;
DROP FUNCTION /* TEMPLATE: schema */queues_now, /* TEMPLATE: schema */kinds_since, /* TEMPLATE: schema */refresh_queue_depth;
DROP VIEW /* TEMPLATE: schema */pauses, /* TEMPLATE: schema */fleet, /* TEMPLATE: schema */leader, /* TEMPLATE: schema */processes;
DROP VIEW /* TEMPLATE: schema */departed;
DROP TABLE /* TEMPLATE: schema */queue_depth, /* TEMPLATE: schema */received;
DROP FUNCTION /* TEMPLATE: schema */histogram_quantile;
DROP VIEW /* TEMPLATE: schema */activity, /* TEMPLATE: schema */counters, /* TEMPLATE: schema */jobs;
