-- Takes away what defines and operates probes.
--
-- Locks: none on tables; only functions go, and who calls them fails from then on.
DROP FUNCTION /* TEMPLATE: schema */run_probe, /* TEMPLATE: schema */resume_probe, /* TEMPLATE: schema */pause_probe, /* TEMPLATE: schema */delete_probe, /* TEMPLATE: schema */revert_probe, /* TEMPLATE: schema */put_probe,
    /* TEMPLATE: schema */define_probe, /* TEMPLATE: schema */probe_must_be, /* TEMPLATE: schema */probe_write, /* TEMPLATE: schema */check_probe_query,
    /* TEMPLATE: schema */probe_fault, /* TEMPLATE: schema */full_probe;
