-- Takes checks away, with all that they were told.
--
-- Locks: ACCESS EXCLUSIVE on the tables and views that go, once those who use them are done.
DROP FUNCTION /* TEMPLATE: schema */put_check, /* TEMPLATE: schema */pause_check, /* TEMPLATE: schema */resume_check, /* TEMPLATE: schema */delete_check,
    /* TEMPLATE: schema */check_key, /* TEMPLATE: schema */change_check, /* TEMPLATE: schema */check_fault, /* TEMPLATE: schema */cron_fault;
DROP VIEW /* TEMPLATE: schema */check_events, /* TEMPLATE: schema */check_pings, /* TEMPLATE: schema */checks;
DROP TABLE /* TEMPLATE: schema */heartbeat_event, /* TEMPLATE: schema */heartbeat_ping, /* TEMPLATE: schema */heartbeat;
DROP FUNCTION /* TEMPLATE: schema */tell_check_event;
