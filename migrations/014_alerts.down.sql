-- Takes alerts away, with their history, what was changed of their rules, and silences.
--
-- Locks: ACCESS EXCLUSIVE on the tables and views that go, once those who use them are done.
DROP VIEW /* TEMPLATE: schema */alert_evaluator, /* TEMPLATE: schema */alert_events, /* TEMPLATE: schema */alerts, /* TEMPLATE: schema */silences;
DROP FUNCTION /* TEMPLATE: schema */alert_limit, /* TEMPLATE: schema */alert_rule_for;
DROP VIEW /* TEMPLATE: schema */alert_rules;
DROP FUNCTION /* TEMPLATE: schema */put_alert_rule, /* TEMPLATE: schema */revert_alert_rule, /* TEMPLATE: schema */silence, /* TEMPLATE: schema */end_silence,
    /* TEMPLATE: schema */alert_rule_fault, /* TEMPLATE: schema */alert_rule_must_be, /* TEMPLATE: schema */alert_defaults, /* TEMPLATE: schema */glob_matches;
DROP TABLE /* TEMPLATE: schema */alert_silence, /* TEMPLATE: schema */alert_event, /* TEMPLATE: schema */alert, /* TEMPLATE: schema */alert_rule, /* TEMPLATE: schema */alert_round;
DROP FUNCTION /* TEMPLATE: schema */tell_alert_event;
