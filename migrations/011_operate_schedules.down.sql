-- Takes the views of schedules and the functions that operate them away.
--
-- Locks: ACCESS EXCLUSIVE on the views that go, once those who read them are done.
DROP VIEW /* TEMPLATE: schema */schedules, /* TEMPLATE: schema */schedule_runs, /* TEMPLATE: schema */schedule_events, /* TEMPLATE: schema */schedule_backfills;
DROP FUNCTION /* TEMPLATE: schema */pause_schedule, /* TEMPLATE: schema */resume_schedule, /* TEMPLATE: schema */run_schedule, /* TEMPLATE: schema */skip_schedule, /* TEMPLATE: schema */backfill_schedule, /* TEMPLATE: schema */cancel_backfill;
