-- Takes the functions that define and fire schedules away.
--
-- Locks: none on tables; only functions go, and who calls them fails from then on.
DROP FUNCTION /* TEMPLATE: schema */schedule_write, /* TEMPLATE: schema */schedule_must_be, /* TEMPLATE: schema */define_schedule, /* TEMPLATE: schema */put_schedule, /* TEMPLATE: schema */revert_schedule, /* TEMPLATE: schema */delete_schedule, /* TEMPLATE: schema */deploy_schedules, /* TEMPLATE: schema */note_deployment,
    /* TEMPLATE: schema */enqueue_ticks, /* TEMPLATE: schema */count_ticks, /* TEMPLATE: schema */fire_schedules, /* TEMPLATE: schema */advance_schedules, /* TEMPLATE: schema */advance_backfill, /* TEMPLATE: schema */note_schedule_runs, /* TEMPLATE: schema */run_outcome, /* TEMPLATE: schema */set_schedule_statuses, /* TEMPLATE: schema */prune_schedules;
