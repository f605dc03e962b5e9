-- Takes the schedules away, with their history.
--
-- Locks: ACCESS EXCLUSIVE on the tables that go, once those who use them are done.
DROP TABLE /* TEMPLATE: schema */deployment, /* TEMPLATE: schema */schedule_backfill, /* TEMPLATE: schema */schedule_event, /* TEMPLATE: schema */schedule_run, /* TEMPLATE: schema */schedule;
DROP FUNCTION /* TEMPLATE: schema */cron_values, /* TEMPLATE: schema */cron_gap, /* TEMPLATE: schema */read_expression, /* TEMPLATE: schema */hint_expression, /* TEMPLATE: schema */go_duration, /* TEMPLATE: schema */known_zone, /* TEMPLATE: schema */definition_fault, /* TEMPLATE: schema */full_definition;
