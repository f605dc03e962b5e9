-- Takes failures, timelines, logs and the reasons for waiting away.
--
-- Locks: ACCESS EXCLUSIVE on the views that go, once those who read them are done.
DROP FUNCTION /* TEMPLATE: schema */why;
DROP VIEW /* TEMPLATE: schema */waiting, /* TEMPLATE: schema */logs, /* TEMPLATE: schema */timeline, /* TEMPLATE: schema */failures;
DROP FUNCTION /* TEMPLATE: schema */failures_since, /* TEMPLATE: schema */error_pattern;
