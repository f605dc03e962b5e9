-- Takes the figures of the lifecycle and the leases away.
--
-- Locks: ACCESS EXCLUSIVE on the tables and views that go, once those who use them are done.
DROP FUNCTION /* TEMPLATE: schema */take_lease;
DROP VIEW /* TEMPLATE: schema */lifecycle;
DROP FUNCTION /* TEMPLATE: schema */lifecycle_now;
DROP TABLE /* TEMPLATE: schema */lease, /* TEMPLATE: schema */known_kind;
