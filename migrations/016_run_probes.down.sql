-- Takes away what the leader does about probes.
--
-- Locks: none on tables; only functions go, and who calls them fails from then on.
DROP FUNCTION /* TEMPLATE: schema */compact_probes, /* TEMPLATE: schema */sum_up_points, /* TEMPLATE: schema */note_stale_probes, /* TEMPLATE: schema */finish_probe, /* TEMPLATE: schema */claim_probes, /* TEMPLATE: schema */deploy_probes;
