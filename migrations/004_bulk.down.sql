-- Takes operating on many jobs away.
--
-- Locks: none on tables; only functions go, and who calls them fails from then on.
DROP FUNCTION /* TEMPLATE: schema */cancel_jobs, /* TEMPLATE: schema */retry_jobs, /* TEMPLATE: schema */delete_jobs,
    /* TEMPLATE: schema */find_jobs, /* TEMPLATE: schema */act_on_jobs, /* TEMPLATE: schema */matching_jobs, /* TEMPLATE: schema */any_of;
