-- Takes operating from SQL away, and the record of what was done.
--
-- Locks: ACCESS EXCLUSIVE on the tables that go, once those who use them are done.
DROP FUNCTION /* TEMPLATE: schema */pause_queue, /* TEMPLATE: schema */resume_queue, /* TEMPLATE: schema */set_paused, /* TEMPLATE: schema */known_queues;
DROP FUNCTION /* TEMPLATE: schema */cancel_job, /* TEMPLATE: schema */retry_job, /* TEMPLATE: schema */delete_job, /* TEMPLATE: schema */act_on_job;
DROP FUNCTION /* TEMPLATE: schema */transition, /* TEMPLATE: schema */cancel_ids, /* TEMPLATE: schema */cancel_locked, /* TEMPLATE: schema */retry_ids, /* TEMPLATE: schema */delete_ids,
    /* TEMPLATE: schema */key_holder, /* TEMPLATE: schema */lock_jobs;
DROP FUNCTION /* TEMPLATE: schema */audit_action, /* TEMPLATE: schema */acting;
DROP TABLE /* TEMPLATE: schema */audit;
DROP FUNCTION /* TEMPLATE: schema */audit_stays;
