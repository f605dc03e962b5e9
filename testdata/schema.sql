-- The schema as the migrations leave it, for people and for sqlc. Written by
--
--     go test ./migrations -run TestSchemaDump -update
--
-- from the catalogs, in words that every version of Postgres has alike: relations, columns, indexes, constraints and
-- signatures. It is to be read, not to be run: what is inside of functions is left out, a view is shown by the types of
-- its columns, and the daily partitions are missing.

CREATE SCHEMA towpath;

CREATE TYPE towpath.river_job_state AS ENUM (
    'available',
    'cancelled',
    'completed',
    'discarded',
    'pending',
    'retryable',
    'running',
    'scheduled'
);

CREATE SEQUENCE towpath.process_epoch_seq;

CREATE SEQUENCE towpath.river_job_id_seq;

CREATE SEQUENCE towpath.river_notification_id_seq;

CREATE TABLE towpath.alert (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    rule text NOT NULL,
    subject text NOT NULL,
    state text NOT NULL,
    since timestamp with time zone NOT NULL,
    bad_since timestamp with time zone,
    well_since timestamp with time zone,
    value text NOT NULL DEFAULT ''::text,
    summary text NOT NULL DEFAULT ''::text,
    detail text NOT NULL DEFAULT ''::text,
    link text NOT NULL DEFAULT ''::text,
    told boolean NOT NULL DEFAULT false,
    told_at timestamp with time zone,
    told_to text[] NOT NULL DEFAULT '{}'::text[],
    seen_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT alert_pkey PRIMARY KEY (id),
    CONSTRAINT alert_rule_subject_key UNIQUE (rule, subject),
    CONSTRAINT alert_state CHECK ((state = ANY (ARRAY['pending'::text, 'firing'::text, 'resolved'::text])))
) WITH (fillfactor=70);

CREATE TABLE towpath.alert_event (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    rule text NOT NULL,
    subject text NOT NULL,
    at timestamp with time zone NOT NULL,
    state text NOT NULL,
    was text,
    severity text NOT NULL,
    value text NOT NULL DEFAULT ''::text,
    summary text NOT NULL DEFAULT ''::text,
    noted_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT alert_event_pkey PRIMARY KEY (id)
);

CREATE TABLE towpath.alert_round (
    one boolean NOT NULL DEFAULT true,
    n bigint NOT NULL DEFAULT 0,
    at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT alert_round_one CHECK (one),
    CONSTRAINT alert_round_pkey PRIMARY KEY (one)
);

CREATE TABLE towpath.alert_rule (
    name text NOT NULL,
    subject text NOT NULL DEFAULT '*'::text,
    enabled boolean,
    severity text,
    threshold double precision,
    after interval,
    reminder interval,
    notifiers text[],
    every_notifier boolean NOT NULL DEFAULT false,
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_by text NOT NULL,
    CONSTRAINT alert_rule_pkey PRIMARY KEY (name, subject),
    CONSTRAINT alert_rule_severity CHECK ((severity = ANY (ARRAY['critical'::text, 'warning'::text, 'info'::text])))
);

CREATE TABLE towpath.alert_silence (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    rule text NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL DEFAULT ''::text,
    author text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    ends_at timestamp with time zone NOT NULL,
    ended_by text,
    CONSTRAINT alert_silence_pkey PRIMARY KEY (id)
);

CREATE TABLE towpath.audit (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    actor text NOT NULL DEFAULT SESSION_USER,
    on_behalf_of text DEFAULT NULLIF(current_setting('towpath.actor'::text, true), ''::text),
    action text NOT NULL,
    target text NOT NULL,
    job_id bigint,
    details jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT audit_pkey PRIMARY KEY (id)
);

CREATE TABLE towpath.counter (
    queue text NOT NULL,
    kind text NOT NULL,
    event text NOT NULL,
    bucket smallint NOT NULL,
    n bigint NOT NULL,
    seconds double precision NOT NULL,
    CONSTRAINT counter_pkey PRIMARY KEY (queue, kind, event, bucket)
);

CREATE TABLE towpath.counter_delta (
    at timestamp with time zone NOT NULL DEFAULT now(),
    queue text NOT NULL,
    kind text NOT NULL,
    event text NOT NULL,
    bucket smallint NOT NULL,
    n bigint NOT NULL,
    seconds double precision NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_threshold=5000, autovacuum_vacuum_cost_delay=1);

CREATE TABLE towpath.counter_minute (
    minute timestamp with time zone NOT NULL,
    queue text NOT NULL,
    kind text NOT NULL,
    event text NOT NULL,
    bucket smallint NOT NULL,
    n bigint NOT NULL,
    seconds double precision NOT NULL,
    CONSTRAINT counter_minute_pkey PRIMARY KEY (minute, queue, kind, event, bucket)
);

CREATE TABLE towpath.deployment (
    what text NOT NULL,
    application text NOT NULL,
    fingerprint text NOT NULL,
    deployed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    version text NOT NULL DEFAULT ''::text,
    applied boolean NOT NULL DEFAULT false,
    definitions jsonb NOT NULL,
    CONSTRAINT deployment_pkey PRIMARY KEY (what, application, fingerprint)
);

CREATE TABLE towpath.heartbeat (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    name text NOT NULL,
    key text NOT NULL,
    description text NOT NULL DEFAULT ''::text,
    period interval,
    cron text,
    zone text NOT NULL DEFAULT 'UTC'::text,
    grace interval NOT NULL,
    longest interval,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_by text NOT NULL,
    watched_since timestamp with time zone NOT NULL DEFAULT now(),
    paused_at timestamp with time zone,
    pings bigint NOT NULL DEFAULT 0,
    last_ping_at timestamp with time zone,
    last_sign_at timestamp with time zone,
    last_start_at timestamp with time zone,
    last_success_at timestamp with time zone,
    last_failure_at timestamp with time zone,
    last_exit_status smallint,
    last_duration interval,
    running jsonb NOT NULL DEFAULT '{}'::jsonb,
    running_since timestamp with time zone,
    expected_by timestamp with time zone,
    problem text,
    status text NOT NULL DEFAULT 'new'::text,
    status_since timestamp with time zone NOT NULL DEFAULT now(),
    turns_at timestamp with time zone,
    CONSTRAINT heartbeat_key_key UNIQUE (key),
    CONSTRAINT heartbeat_name_key UNIQUE (name),
    CONSTRAINT heartbeat_one_rhythm CHECK (((period IS NULL) <> (cron IS NULL))),
    CONSTRAINT heartbeat_pkey PRIMARY KEY (id),
    CONSTRAINT heartbeat_status CHECK ((status = ANY (ARRAY['new'::text, 'ok'::text, 'late'::text, 'missed'::text, 'failed'::text, 'too_long'::text, 'paused'::text])))
);

CREATE TABLE towpath.heartbeat_event (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    heartbeat_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    status text NOT NULL,
    was text NOT NULL,
    noted_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT heartbeat_event_pkey PRIMARY KEY (id)
);

CREATE TABLE towpath.heartbeat_ping (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    heartbeat_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    exit_status smallint,
    run_id text,
    duration interval,
    source text NOT NULL DEFAULT ''::text,
    body text,
    body_bytes bigint NOT NULL DEFAULT 0,
    CONSTRAINT heartbeat_ping_kind CHECK ((kind = ANY (ARRAY['success'::text, 'start'::text, 'fail'::text, 'log'::text]))),
    CONSTRAINT heartbeat_ping_pkey PRIMARY KEY (id)
);

CREATE TABLE towpath.job_event (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    job_id bigint NOT NULL,
    attempt smallint NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    level text,
    message text,
    fraction double precision,
    attrs jsonb,
    CONSTRAINT job_event_kind CHECK ((event = ANY (ARRAY['log'::text, 'progress'::text, 'soft_limit'::text, 'stuck'::text, 'note'::text])))
) PARTITION BY RANGE (at);

CREATE TABLE towpath.job_history (
    id bigint NOT NULL,
    args jsonb NOT NULL,
    attempt smallint NOT NULL,
    attempted_at timestamp with time zone,
    attempted_by text[],
    created_at timestamp with time zone NOT NULL,
    errors jsonb[],
    finalized_at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    max_attempts smallint NOT NULL,
    metadata jsonb NOT NULL,
    priority smallint NOT NULL,
    queue text NOT NULL,
    state towpath.river_job_state NOT NULL,
    scheduled_at timestamp with time zone NOT NULL,
    tags character varying(255)[] NOT NULL,
    unique_key bytea,
    unique_states bit(8),
    archived_at timestamp with time zone NOT NULL DEFAULT now()
) PARTITION BY LIST (state);

CREATE TABLE towpath.kind_schema (
    kind text NOT NULL,
    schema jsonb NOT NULL,
    checked boolean NOT NULL DEFAULT false,
    told_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT kind_schema_pkey PRIMARY KEY (kind)
);

CREATE TABLE towpath.known_kind (
    kind text NOT NULL,
    queue text NOT NULL,
    known_since timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT known_kind_pkey PRIMARY KEY (kind, queue)
);

CREATE TABLE towpath.lease (
    name text NOT NULL,
    holder text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT lease_pkey PRIMARY KEY (name)
);

CREATE TABLE towpath.periodic_job (
    id text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    next_run_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT periodic_job_pkey PRIMARY KEY (id)
);

CREATE TABLE towpath.probe (
    name text NOT NULL,
    code jsonb,
    edited jsonb,
    application text,
    code_at timestamp with time zone,
    edited_at timestamp with time zone,
    edited_by text,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    paused_at timestamp with time zone,
    paused_by text,
    pause_reason text,
    watched_since timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    due timestamp with time zone DEFAULT clock_timestamp(),
    asked_at timestamp with time zone,
    run bigint NOT NULL DEFAULT 0,
    started_at timestamp with time zone,
    claimed_until timestamp with time zone,
    last_run bigint NOT NULL DEFAULT 0,
    last_run_at timestamp with time zone,
    last_ok_at timestamp with time zone,
    last_duration interval,
    outcome text,
    value double precision,
    detail text,
    missing bigint,
    extra bigint,
    differing bigint,
    examples jsonb,
    status text NOT NULL DEFAULT 'pending'::text,
    status_since timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT probe_defined CHECK (((code IS NOT NULL) OR (edited IS NOT NULL))),
    CONSTRAINT probe_outcome CHECK ((outcome = ANY (ARRAY['ok'::text, 'beyond'::text, 'empty'::text, 'failed'::text]))),
    CONSTRAINT probe_pkey PRIMARY KEY (name),
    CONSTRAINT probe_status CHECK ((status = ANY (ARRAY['pending'::text, 'ok'::text, 'beyond'::text, 'empty'::text, 'failed'::text, 'stale'::text, 'paused'::text])))
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_threshold=500, autovacuum_vacuum_cost_delay=1);

CREATE TABLE towpath.probe_event (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    probe text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    status text NOT NULL,
    before text NOT NULL,
    since timestamp with time zone NOT NULL,
    value double precision,
    detail text,
    CONSTRAINT probe_event_pkey PRIMARY KEY (id)
);

CREATE TABLE towpath.probe_point (
    at timestamp with time zone NOT NULL,
    value double precision NOT NULL,
    series_id integer NOT NULL,
    width integer NOT NULL DEFAULT 0,
    n integer,
    low double precision,
    high double precision,
    mean double precision,
    CONSTRAINT probe_point_pkey PRIMARY KEY (series_id, width, at)
);

CREATE TABLE towpath.probe_series (
    id integer GENERATED ALWAYS AS IDENTITY NOT NULL,
    probe text NOT NULL,
    name text NOT NULL,
    value double precision NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT probe_series_pkey PRIMARY KEY (id),
    CONSTRAINT probe_series_probe_name_key UNIQUE (probe, name)
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_threshold=500, autovacuum_vacuum_cost_delay=1);

CREATE TABLE towpath.process (
    epoch bigint NOT NULL DEFAULT nextval('towpath.process_epoch_seq'::regclass),
    client_id text NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    beat bigint NOT NULL DEFAULT 1,
    beat_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    host text NOT NULL DEFAULT ''::text,
    pid integer NOT NULL DEFAULT 0,
    version text NOT NULL DEFAULT ''::text,
    roles text[] NOT NULL DEFAULT '{}'::text[],
    queues jsonb NOT NULL DEFAULT '{}'::jsonb,
    kinds text[] NOT NULL DEFAULT '{}'::text[],
    running integer NOT NULL DEFAULT 0,
    may_lead boolean NOT NULL DEFAULT true,
    max_conns integer NOT NULL DEFAULT 0,
    clock_ahead interval,
    stopped_at timestamp with time zone,
    dead_at timestamp with time zone,
    CONSTRAINT process_pkey PRIMARY KEY (epoch)
) WITH (fillfactor=50, autovacuum_vacuum_threshold=200, autovacuum_vacuum_scale_factor=0);

CREATE TABLE towpath.queue_depth (
    queue text NOT NULL,
    kind text NOT NULL,
    state towpath.river_job_state NOT NULL,
    n bigint NOT NULL,
    counted_at timestamp with time zone NOT NULL,
    took interval NOT NULL,
    CONSTRAINT queue_depth_pkey PRIMARY KEY (queue, kind, state)
) WITH (fillfactor=50, autovacuum_vacuum_threshold=500, autovacuum_vacuum_scale_factor=0);

CREATE TABLE towpath.received (
    queue text NOT NULL,
    kind text NOT NULL,
    n bigint NOT NULL,
    CONSTRAINT received_pkey PRIMARY KEY (queue, kind)
) WITH (fillfactor=50, autovacuum_vacuum_threshold=500, autovacuum_vacuum_scale_factor=0);

CREATE TABLE towpath.river_job (
    id bigint NOT NULL DEFAULT nextval('towpath.river_job_id_seq'::regclass),
    state towpath.river_job_state NOT NULL DEFAULT 'available'::towpath.river_job_state,
    attempt smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL DEFAULT 25,
    attempted_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    finalized_at timestamp with time zone,
    scheduled_at timestamp with time zone NOT NULL DEFAULT now(),
    priority smallint NOT NULL DEFAULT 1,
    args jsonb NOT NULL,
    attempted_by text[],
    errors jsonb[],
    kind text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    queue text NOT NULL DEFAULT 'default'::text,
    tags character varying(255)[] NOT NULL DEFAULT '{}'::character varying[],
    unique_key bytea,
    unique_states bit(8),
    CONSTRAINT finalized_or_finalized_at_null CHECK ((((finalized_at IS NULL) AND (state <> ALL (ARRAY['cancelled'::towpath.river_job_state, 'completed'::towpath.river_job_state, 'discarded'::towpath.river_job_state]))) OR ((finalized_at IS NOT NULL) AND (state = ANY (ARRAY['cancelled'::towpath.river_job_state, 'completed'::towpath.river_job_state, 'discarded'::towpath.river_job_state]))))),
    CONSTRAINT kind_length CHECK (((char_length(kind) > 0) AND (char_length(kind) < 128))),
    CONSTRAINT max_attempts_is_positive CHECK ((max_attempts > 0)),
    CONSTRAINT priority_in_range CHECK (((priority >= 1) AND (priority <= 4))),
    CONSTRAINT queue_length CHECK (((char_length(queue) > 0) AND (char_length(queue) < 128))),
    CONSTRAINT river_job_pkey PRIMARY KEY (id)
) WITH (fillfactor=85, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=1000, autovacuum_vacuum_insert_scale_factor=0.1, autovacuum_analyze_scale_factor=0.05, autovacuum_vacuum_cost_delay=1);

CREATE UNLOGGED TABLE towpath.river_leader (
    elected_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    leader_id text NOT NULL,
    name text NOT NULL DEFAULT 'default'::text,
    CONSTRAINT leader_id_length CHECK (((char_length(leader_id) > 0) AND (char_length(leader_id) < 128))),
    CONSTRAINT name_length CHECK ((name = 'default'::text)),
    CONSTRAINT river_leader_pkey PRIMARY KEY (name)
);

CREATE TABLE towpath.river_migration (
    line text NOT NULL,
    version bigint NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT line_length CHECK (((char_length(line) > 0) AND (char_length(line) < 128))),
    CONSTRAINT river_migration_pkey1 PRIMARY KEY (line, version),
    CONSTRAINT version_gte_1 CHECK ((version >= 1))
);

CREATE TABLE towpath.river_notification (
    id bigint NOT NULL DEFAULT nextval('towpath.river_notification_id_seq'::regclass),
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    payload text NOT NULL,
    topic text NOT NULL,
    CONSTRAINT river_notification_pkey PRIMARY KEY (id),
    CONSTRAINT topic_length CHECK (((length(topic) > 0) AND (length(topic) < 128)))
);

CREATE TABLE towpath.river_queue (
    name text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}'::jsonb,
    paused_at timestamp with time zone,
    updated_at timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT river_queue_pkey PRIMARY KEY (name)
);

CREATE TABLE towpath.schedule (
    name text NOT NULL,
    code jsonb,
    edited jsonb,
    application text,
    code_at timestamp with time zone,
    edited_at timestamp with time zone,
    edited_by text,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    version bigint NOT NULL DEFAULT 1,
    settled boolean NOT NULL DEFAULT false,
    in_words text,
    problem text,
    after timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    next_tick timestamp with time zone,
    next_due timestamp with time zone,
    held boolean NOT NULL DEFAULT false,
    blocked boolean NOT NULL DEFAULT false,
    paused_at timestamp with time zone,
    paused_by text,
    pause_reason text,
    runs bigint NOT NULL DEFAULT 0,
    open_runs integer NOT NULL DEFAULT 0,
    watched_since timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    last_due timestamp with time zone,
    overdue_since timestamp with time zone,
    last_start timestamp with time zone,
    last_success timestamp with time zone,
    last_failure timestamp with time zone,
    running_since timestamp with time zone,
    last_outcome text,
    last_duration interval,
    usual_duration interval,
    status text NOT NULL DEFAULT 'ok'::text,
    status_since timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    status_due timestamp with time zone,
    CONSTRAINT schedule_defined CHECK (((code IS NOT NULL) OR (edited IS NOT NULL))),
    CONSTRAINT schedule_pkey PRIMARY KEY (name),
    CONSTRAINT schedule_status CHECK ((status = ANY (ARRAY['ok'::text, 'late'::text, 'missed'::text, 'failed'::text, 'too_long'::text, 'paused'::text])))
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_threshold=500, autovacuum_vacuum_cost_delay=1);

CREATE TABLE towpath.schedule_backfill (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    schedule text NOT NULL,
    from_at timestamp with time zone NOT NULL,
    to_at timestamp with time zone NOT NULL,
    at_once integer NOT NULL,
    after timestamp with time zone NOT NULL,
    fired integer NOT NULL DEFAULT 0,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL DEFAULT SESSION_USER,
    ended_at timestamp with time zone,
    cancelled boolean NOT NULL DEFAULT false,
    CONSTRAINT schedule_backfill_pkey PRIMARY KEY (id)
);

CREATE TABLE towpath.schedule_event (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    schedule text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    status text NOT NULL,
    before text NOT NULL,
    since timestamp with time zone NOT NULL,
    due timestamp with time zone,
    job_id bigint,
    CONSTRAINT schedule_event_pkey PRIMARY KEY (id)
);

CREATE TABLE towpath.schedule_run (
    schedule text NOT NULL,
    n bigint NOT NULL,
    tick timestamp with time zone NOT NULL,
    due timestamp with time zone NOT NULL,
    awaited_since timestamp with time zone,
    ticks integer NOT NULL DEFAULT 1,
    cause text NOT NULL,
    backfill bigint,
    fired_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    job_id bigint,
    outcome text NOT NULL,
    note text,
    attempt smallint NOT NULL DEFAULT 0,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    duration interval,
    process text,
    host text,
    CONSTRAINT schedule_run_cause CHECK ((cause = ANY (ARRAY['tick'::text, 'manual'::text, 'backfill'::text]))),
    CONSTRAINT schedule_run_outcome CHECK ((outcome = ANY (ARRAY['waiting'::text, 'running'::text, 'retrying'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text, 'deleted'::text, 'skipped'::text]))),
    CONSTRAINT schedule_run_pkey PRIMARY KEY (schedule, n)
) WITH (fillfactor=80, autovacuum_vacuum_scale_factor=0.05, autovacuum_vacuum_cost_delay=1);

CREATE TABLE towpath.job_history_cancelled PARTITION OF towpath.job_history FOR VALUES IN ('cancelled') PARTITION BY RANGE (archived_at);

CREATE TABLE towpath.job_history_completed PARTITION OF towpath.job_history FOR VALUES IN ('completed') PARTITION BY RANGE (archived_at);

CREATE TABLE towpath.job_history_discarded PARTITION OF towpath.job_history FOR VALUES IN ('discarded') PARTITION BY RANGE (archived_at);

ALTER TABLE towpath.heartbeat_event ADD CONSTRAINT heartbeat_event_heartbeat_id_fkey FOREIGN KEY (heartbeat_id) REFERENCES towpath.heartbeat(id) ON DELETE CASCADE;

ALTER TABLE towpath.heartbeat_ping ADD CONSTRAINT heartbeat_ping_heartbeat_id_fkey FOREIGN KEY (heartbeat_id) REFERENCES towpath.heartbeat(id) ON DELETE CASCADE;

ALTER TABLE towpath.probe_event ADD CONSTRAINT probe_event_probe_fkey FOREIGN KEY (probe) REFERENCES towpath.probe(name) ON DELETE CASCADE;

ALTER TABLE towpath.probe_point ADD CONSTRAINT probe_point_series_id_fkey FOREIGN KEY (series_id) REFERENCES towpath.probe_series(id) ON DELETE CASCADE;

ALTER TABLE towpath.probe_series ADD CONSTRAINT probe_series_probe_fkey FOREIGN KEY (probe) REFERENCES towpath.probe(name) ON DELETE CASCADE;

ALTER TABLE towpath.schedule_backfill ADD CONSTRAINT schedule_backfill_schedule_fkey FOREIGN KEY (schedule) REFERENCES towpath.schedule(name) ON DELETE CASCADE;

ALTER TABLE towpath.schedule_event ADD CONSTRAINT schedule_event_schedule_fkey FOREIGN KEY (schedule) REFERENCES towpath.schedule(name) ON DELETE CASCADE;

ALTER TABLE towpath.schedule_run ADD CONSTRAINT schedule_run_schedule_fkey FOREIGN KEY (schedule) REFERENCES towpath.schedule(name) ON DELETE CASCADE;

CREATE INDEX alert_event_noted_idx ON towpath.alert_event USING btree (noted_at);

CREATE INDEX alert_event_rule_idx ON towpath.alert_event USING btree (rule, subject, id);

CREATE INDEX alert_silence_ends_idx ON towpath.alert_silence USING btree (ends_at);

CREATE INDEX audit_job_idx ON towpath.audit USING btree (job_id, id) WHERE (job_id IS NOT NULL);

CREATE INDEX audit_target_idx ON towpath.audit USING btree (target, id);

CREATE INDEX heartbeat_event_check_idx ON towpath.heartbeat_event USING btree (heartbeat_id, id);

CREATE INDEX heartbeat_event_noted_idx ON towpath.heartbeat_event USING btree (noted_at);

CREATE INDEX heartbeat_ping_at_idx ON towpath.heartbeat_ping USING btree (at);

CREATE INDEX heartbeat_ping_check_idx ON towpath.heartbeat_ping USING btree (heartbeat_id, id);

CREATE INDEX heartbeat_turns_idx ON towpath.heartbeat USING btree (turns_at);

CREATE INDEX job_event_job_idx ON ONLY towpath.job_event USING btree (job_id, id);

CREATE INDEX job_event_stuck_idx ON ONLY towpath.job_event USING btree (at) WHERE (event = 'stuck'::text);

CREATE INDEX job_history_finalized_idx ON ONLY towpath.job_history USING btree (finalized_at, id);

CREATE INDEX job_history_id_idx ON ONLY towpath.job_history USING btree (id);

CREATE INDEX probe_event_probe_idx ON towpath.probe_event USING btree (probe, id);

CREATE INDEX process_client_idx ON towpath.process USING btree (client_id);

CREATE UNIQUE INDEX river_job_unique_idx ON towpath.river_job USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (unique_states IS NOT NULL) AND towpath.river_job_state_in_bitmask(unique_states, state));

CREATE INDEX river_notification_created_at_idx ON towpath.river_notification USING btree (created_at);

CREATE INDEX river_notification_topic_id_idx ON towpath.river_notification USING btree (topic, id);

CREATE INDEX schedule_backfill_open_idx ON towpath.schedule_backfill USING btree (id) WHERE (ended_at IS NULL);

CREATE INDEX schedule_due_idx ON towpath.schedule USING btree (next_due) WHERE ((next_due IS NOT NULL) AND (NOT blocked) AND settled);

CREATE INDEX schedule_event_schedule_idx ON towpath.schedule_event USING btree (schedule, id);

CREATE INDEX schedule_run_backfill_idx ON towpath.schedule_run USING btree (backfill) WHERE (backfill IS NOT NULL);

CREATE INDEX schedule_run_open_idx ON towpath.schedule_run USING btree (schedule, n) WHERE (outcome = ANY (ARRAY['waiting'::text, 'running'::text, 'retrying'::text]));

CREATE UNIQUE INDEX schedule_run_tick_idx ON towpath.schedule_run USING btree (schedule, tick) WHERE (cause = 'tick'::text);

CREATE INDEX schedule_status_idx ON towpath.schedule USING btree (status_due) WHERE (status_due IS NOT NULL);

CREATE INDEX schedule_unsettled_idx ON towpath.schedule USING btree (name) WHERE (NOT settled);

CREATE INDEX towpath_job_available_idx ON towpath.river_job USING btree (queue, priority, scheduled_at, id) WHERE (state = 'available'::towpath.river_job_state);

CREATE INDEX towpath_job_due_idx ON towpath.river_job USING btree (scheduled_at, id) WHERE (state = ANY (ARRAY['retryable'::towpath.river_job_state, 'scheduled'::towpath.river_job_state]));

CREATE INDEX towpath_job_finalized_idx ON towpath.river_job USING btree (finalized_at DESC, id DESC) WHERE (finalized_at IS NOT NULL);

CREATE INDEX towpath_job_running_idx ON towpath.river_job USING btree (attempted_at, id) WHERE (state = 'running'::towpath.river_job_state);

CREATE FUNCTION towpath.act_on_job(action text, job_id bigint) RETURNS TABLE(id bigint, state text, changed boolean, note text) LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.act_on_jobs(action text, states text[], default_states text[], kinds text[], queues text[], tags text[], older_than interval, newer_than interval, args jsonb, error text, max_jobs integer, given_ids bigint[]) RETURNS TABLE(id bigint, state text, changed boolean, note text) LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.acting() RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.advance_backfill(id bigint, seen timestamp with time zone, up_to timestamp with time zone, ended boolean, runs json) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.advance_schedules(changes json, runs json) RETURNS integer LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.alert_defaults() RETURNS TABLE(name text, family text, title text, severity text, threshold double precision, unit text, after interval, reminder interval, notifiers text[], description text) LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.alert_limit(rule text, subject text) RETURNS double precision LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.alert_rule_fault(name text, subject text, threshold double precision, after interval, severity text, reminder interval, notifiers text[]) RETURNS text[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.alert_rule_for(rule text, subject text) RETURNS SETOF towpath.alert_rules LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.alert_rule_must_be(name text) RETURNS void LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.any_of(single text, several text[]) RETURNS text[] LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.args_fault(kind text, args json) RETURNS text[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.audit_action(action text, target text, details jsonb) RETURNS void LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.backfill_schedule(schedule text, from_at timestamp with time zone, to_at timestamp with time zone, at_once integer DEFAULT 1, OUT id bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.cancel_backfill(id bigint, OUT schedule text, OUT changed boolean) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.cancel_ids(ids bigint[], wait boolean) RETURNS TABLE(id bigint, state text, changed boolean, note text) LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.cancel_job(job_id bigint, OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.cancel_jobs(states text[] DEFAULT NULL::text[], kind text DEFAULT NULL::text, queue text DEFAULT NULL::text, tag text DEFAULT NULL::text, older_than interval DEFAULT NULL::interval, newer_than interval DEFAULT NULL::interval, args jsonb DEFAULT NULL::jsonb, error text DEFAULT NULL::text, max_jobs integer DEFAULT 1000, ids bigint[] DEFAULT NULL::bigint[], kinds text[] DEFAULT NULL::text[], queues text[] DEFAULT NULL::text[], tags text[] DEFAULT NULL::text[], OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.cancel_locked(ids bigint[], in_place boolean) RETURNS TABLE(id bigint, state text, changed boolean, note text) LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.change_check(action text, name text) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.check_fault(name text, period interval, cron text, zone text, grace interval, longest interval) RETURNS text[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.check_key(name text, renew boolean DEFAULT false) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.check_kind(kind text, checked boolean DEFAULT true, OUT changed boolean) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.check_probe_query(query text, compare_with text, key_columns text[]) RETURNS void LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.claim_probes(most integer) RETURNS TABLE(name text, run bigint, definition jsonb) LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.compact_probes(beyond integer, most integer) RETURNS integer LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.count_ticks(runs json) RETURNS TABLE(schedule text, rows bigint, fired bigint, last_due timestamp with time zone, overdue_since timestamp with time zone) LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.cron_fault(cron text) RETURNS text[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.cron_gap(vals integer[], length integer) RETURNS integer LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.cron_values(field text, low integer, high integer, names text[]) RETURNS integer[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.define_probe(probe text, definition jsonb) RETURNS TABLE(name text, changed boolean, holds text) LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.define_schedule(schedule text, definition jsonb) RETURNS TABLE(name text, changed boolean, holds text) LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.definition_fault(name text, d jsonb) RETURNS text[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.delete_check(name text, OUT changed boolean) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.delete_ids(ids bigint[], wait boolean) RETURNS TABLE(id bigint, state text, changed boolean, note text) LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.delete_job(job_id bigint, OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.delete_jobs(states text[] DEFAULT NULL::text[], kind text DEFAULT NULL::text, queue text DEFAULT NULL::text, tag text DEFAULT NULL::text, older_than interval DEFAULT NULL::interval, newer_than interval DEFAULT NULL::interval, args jsonb DEFAULT NULL::jsonb, error text DEFAULT NULL::text, max_jobs integer DEFAULT 1000, ids bigint[] DEFAULT NULL::bigint[], kinds text[] DEFAULT NULL::text[], queues text[] DEFAULT NULL::text[], tags text[] DEFAULT NULL::text[], OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.delete_probe(probe text, OUT name text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.delete_schedule(schedule text, OUT name text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.deploy_probes(application text, fingerprint text, version text, definitions jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.deploy_schedules(application text, fingerprint text, version text, definitions jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.due_soon() RETURNS interval LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.duration_bucket(seconds double precision) RETURNS smallint LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.end_silence(id bigint, OUT changed boolean) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.enqueue(kind text, args json DEFAULT '{}'::json, queue text DEFAULT 'default'::text, priority integer DEFAULT 1, scheduled_at timestamp with time zone DEFAULT NULL::timestamp with time zone, max_attempts integer DEFAULT 25, tags text[] DEFAULT '{}'::text[], unique_key text DEFAULT NULL::text, unique_by_args boolean DEFAULT false, unique_period interval DEFAULT NULL::interval, unique_queue boolean DEFAULT false, unique_states text[] DEFAULT NULL::text[], unique_args text[] DEFAULT NULL::text[], unique_exclude_kind boolean DEFAULT false, metadata json DEFAULT '{}'::json, OUT id bigint, OUT state text, OUT skipped boolean) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.enqueue_many(jobs json, OUT id bigint, OUT state text, OUT skipped boolean) RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.enqueue_ticks(runs json, cause text) RETURNS void LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.ensure_partitions(days_ahead integer DEFAULT 14) RETURNS integer LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.error_pattern(error text) RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.failures_since(period interval, max_jobs integer DEFAULT 1000) RETURNS TABLE(fingerprint text, kind text, pattern text, jobs bigint, discarded bigint, first_seen timestamp with time zone, last_seen timestamp with time zone, example_id bigint, example_error text) LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.find_jobs(states text[] DEFAULT NULL::text[], kind text DEFAULT NULL::text, queue text DEFAULT NULL::text, tag text DEFAULT NULL::text, older_than interval DEFAULT NULL::interval, newer_than interval DEFAULT NULL::interval, args jsonb DEFAULT NULL::jsonb, error text DEFAULT NULL::text, max_jobs integer DEFAULT 1000, ids bigint[] DEFAULT NULL::bigint[], after_id bigint DEFAULT NULL::bigint, after_finished timestamp with time zone DEFAULT NULL::timestamp with time zone, kinds text[] DEFAULT NULL::text[], queues text[] DEFAULT NULL::text[], tags text[] DEFAULT NULL::text[], OUT id bigint, OUT state text, OUT at timestamp with time zone) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.finish_probe(probe text, run bigint, outcome text, detail text, value double precision, took interval, given jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.fire_schedules(runs json, cause text) RETURNS void LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.full_definition(d jsonb) RETURNS jsonb LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.full_probe(d jsonb) RETURNS jsonb LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.glob_matches(pattern text, value text) RETURNS boolean LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.go_duration(value text) RETURNS double precision LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.go_fields(value json, paths text[]) RETURNS text LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.go_json(value json) RETURNS text LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.go_key(value text) RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.go_object(value json) RETURNS text LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.go_string(value text) RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.go_value(value json) RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.grant_roles() RETURNS void LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.has_json_type(value jsonb, wanted text) RETURNS boolean LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.hint_expression() RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.histogram_quantile(buckets smallint[], counts bigint[], q double precision) RETURNS interval LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.job_fault(kind text, args json, queue text, priority integer, scheduled_at timestamp with time zone, max_attempts integer, tags text[], metadata json) RETURNS text[] LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.job_unique_key(kind text, args json, queue text, scheduled_at timestamp with time zone, unique_key text, unique_by_args boolean, unique_args text[], unique_period interval, unique_queue boolean, unique_exclude_kind boolean) RETURNS bytea LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.key_holder(job_id bigint, key bytea) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.kinds_since(period interval) RETURNS TABLE(kind text, started bigint, completed bigint, failed bigint, discarded bigint, cancelled bigint, failure_ratio double precision, started_per_minute double precision, wait_p50 interval, wait_p95 interval, run_p50 interval, run_p95 interval, waiting bigint, processes bigint) LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.known_queues() RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.known_zone(name text) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.lifecycle_now() RETURNS TABLE(queue text, kind text, received bigint, started bigint, succeeded bigint, failed bigint, retried bigint, snoozed bigint, interrupted bigint, cancelled bigint, discarded bigint, revived bigint, deleted bigint, finished bigint) LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.lock_jobs(ids bigint[], wait boolean) RETURNS bigint[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.matching_jobs(states text[], kinds text[], queues text[], tags text[], older_than interval, newer_than interval, args jsonb, error text, max_jobs integer, ids bigint[], after_id bigint, after_finished timestamp with time zone) RETURNS TABLE(id bigint, state text, at timestamp with time zone) LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.note_deployment(what text, application text, fingerprint text, version text, definitions jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.note_schedule_runs() RETURNS integer LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.note_stale_probes() RETURNS integer LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.pause_check(name text, OUT changed boolean) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.pause_probe(probe text, reason text DEFAULT NULL::text, OUT name text, OUT paused_at timestamp with time zone, OUT changed boolean) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.pause_queue(name text, reason text DEFAULT NULL::text, OUT queue text, OUT paused_at timestamp with time zone, OUT changed boolean) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.pause_schedule(schedule text, reason text DEFAULT NULL::text, OUT name text, OUT paused_at timestamp with time zone, OUT changed boolean) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.pin_search_path() RETURNS void LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.probe_detail(status text, detail text, last_run_at timestamp with time zone) RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.probe_fault(name text, d jsonb) RETURNS text[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.probe_must_be(probe text) RETURNS towpath.probe LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.probe_write(probe text, new_code jsonb, new_edited jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.prune_alerts() RETURNS integer LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.prune_schedules() RETURNS integer LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.put_alert_rule(name text, threshold double precision DEFAULT NULL::double precision, after interval DEFAULT NULL::interval, severity text DEFAULT NULL::text, reminder interval DEFAULT NULL::interval, notifiers text[] DEFAULT NULL::text[], enabled boolean DEFAULT NULL::boolean, subject text DEFAULT '*'::text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.put_check(name text, period interval DEFAULT NULL::interval, cron text DEFAULT NULL::text, zone text DEFAULT 'UTC'::text, grace interval DEFAULT '00:05:00'::interval, longest interval DEFAULT NULL::interval, description text DEFAULT ''::text, OUT key text, OUT created boolean) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.put_probe(probe text, query text, every interval, compare_with text DEFAULT NULL::text, description text DEFAULT ''::text, timeout interval DEFAULT NULL::interval, role text DEFAULT NULL::text, key_columns text[] DEFAULT '{}'::text[], empty_is_fine boolean DEFAULT false, alert_above double precision DEFAULT NULL::double precision, alert_below double precision DEFAULT NULL::double precision, examples integer DEFAULT 10, OUT name text, OUT changed boolean, OUT holds text) RETURNS record LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.put_schedule(schedule text, expression text, kind text, args json DEFAULT '{}'::json, zone text DEFAULT 'UTC'::text, queue text DEFAULT 'default'::text, priority integer DEFAULT 1, max_attempts integer DEFAULT 25, tags text[] DEFAULT '{}'::text[], starts_at timestamp with time zone DEFAULT NULL::timestamp with time zone, ends_at timestamp with time zone DEFAULT NULL::timestamp with time zone, jitter interval DEFAULT NULL::interval, missed text DEFAULT 'coalesce'::text, skip_after interval DEFAULT NULL::interval, overlap text DEFAULT 'allow'::text, grace interval DEFAULT '00:05:00'::interval, longest interval DEFAULT NULL::interval, OUT name text, OUT changed boolean, OUT holds text) RETURNS record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.queues_now() RETURNS TABLE(queue text, available bigint, scheduled bigint, retryable bigint, running bigint, pending bigint, counted_at timestamp with time zone, oldest interval, started_per_minute double precision, finished_per_minute double precision, processes bigint, slots bigint, paused_at timestamp with time zone, paused_by text) LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.raise_fault(fault text[], detail text) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.read_expression(expression text, OUT fault text[], OUT shortest double precision) RETURNS record LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.refresh_queue_depth() RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.resume_check(name text, OUT changed boolean) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.resume_probe(probe text, OUT name text, OUT changed boolean) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.resume_queue(name text, OUT queue text, OUT paused_at timestamp with time zone, OUT changed boolean) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.resume_schedule(schedule text, OUT name text, OUT changed boolean) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.retry_ids(ids bigint[], wait boolean) RETURNS TABLE(id bigint, state text, changed boolean, note text) LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.retry_job(job_id bigint, OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.retry_jobs(states text[] DEFAULT NULL::text[], kind text DEFAULT NULL::text, queue text DEFAULT NULL::text, tag text DEFAULT NULL::text, older_than interval DEFAULT NULL::interval, newer_than interval DEFAULT NULL::interval, args jsonb DEFAULT NULL::jsonb, error text DEFAULT NULL::text, max_jobs integer DEFAULT 1000, ids bigint[] DEFAULT NULL::bigint[], kinds text[] DEFAULT NULL::text[], queues text[] DEFAULT NULL::text[], tags text[] DEFAULT NULL::text[], OUT id bigint, OUT state text, OUT changed boolean, OUT note text) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.revert_alert_rule(name text, subject text DEFAULT '*'::text, OUT changed boolean) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.revert_probe(probe text, OUT name text, OUT changed boolean, OUT holds text) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.revert_schedule(schedule text, OUT name text, OUT changed boolean, OUT holds text) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.river_job_state_in_bitmask(bitmask bit, state towpath.river_job_state) RETURNS boolean LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.run_outcome(state towpath.river_job_state) RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.run_probe(probe text, OUT name text, OUT run bigint) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.run_schedule(schedule text, OUT name text, OUT n bigint, OUT job_id bigint) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.save_alerts(round bigint, changed json, events json, messages json) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.schedule_must_be(schedule text) RETURNS towpath.schedule LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.schedule_write(schedule text, new_code jsonb, new_edited jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.schema_fault(schema jsonb, value jsonb, place text) RETURNS text LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.schema_name() RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.set_paused(action text, name text, pause boolean, reason text) RETURNS TABLE(queue text, paused_at timestamp with time zone, changed boolean) LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.set_schedule_statuses(statuses json) RETURNS integer LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.shown(value text) RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.shown(value timestamp with time zone) RETURNS text LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.silence(rule text, subject text, until timestamp with time zone, reason text DEFAULT ''::text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.skip_schedule(schedule text, until timestamp with time zone DEFAULT NULL::timestamp with time zone, OUT name text, OUT skipped timestamp with time zone) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE FUNCTION towpath.sum_up_points(series integer, narrow integer, wide integer, up_to timestamp with time zone) RETURNS integer LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.tags_fault(tags text[]) RETURNS text[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.take_lease(name text, holder text, lasts interval) RETURNS boolean LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.tell_alert_event() RETURNS trigger LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.tell_check_event() RETURNS trigger LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.tell_probe_event() RETURNS trigger LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.transition(action text, ids bigint[], wait boolean) RETURNS TABLE(id bigint, state text, changed boolean, note text) LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.unique_fault(unique_key text, unique_by_args boolean, unique_args text[], unique_period interval, unique_queue boolean, unique_states text[], unique_exclude_kind boolean) RETURNS text[] LANGUAGE plpgsql AS $$ … $$;

CREATE FUNCTION towpath.unique_mask(states text[]) RETURNS bit LANGUAGE sql AS $$ … $$;

CREATE FUNCTION towpath.why(job_id bigint, OUT id bigint, OUT state text, OUT reason text, OUT explanation text, OUT also text[]) RETURNS record LANGUAGE plpgsql SECURITY DEFINER AS $$ … $$;

CREATE VIEW towpath.activity AS SELECT
    NULL::timestamp with time zone AS minute,
    NULL::text AS queue,
    NULL::text AS kind,
    NULL::text AS event,
    NULL::smallint AS bucket,
    NULL::bigint AS n,
    NULL::double precision AS seconds;

CREATE VIEW towpath.alert_evaluator AS SELECT
    NULL::text AS client_id,
    NULL::boolean AS active,
    NULL::timestamp with time zone AS expires_at;

CREATE VIEW towpath.alert_events AS SELECT
    NULL::bigint AS id,
    NULL::text AS rule,
    NULL::text AS subject,
    NULL::timestamp with time zone AS at,
    NULL::text AS state,
    NULL::text AS was,
    NULL::text AS severity,
    NULL::text AS value,
    NULL::text AS summary,
    NULL::timestamp with time zone AS noted_at;

CREATE VIEW towpath.alert_rules AS SELECT
    NULL::text AS name,
    NULL::text AS subject,
    NULL::boolean AS enabled,
    NULL::text AS severity,
    NULL::double precision AS threshold,
    NULL::text AS unit,
    NULL::interval AS after,
    NULL::interval AS reminder,
    NULL::text[] AS notifiers,
    NULL::boolean AS changed,
    NULL::text AS family,
    NULL::text AS title,
    NULL::text AS description,
    NULL::timestamp with time zone AS updated_at,
    NULL::text AS updated_by;

CREATE VIEW towpath.alerts AS SELECT
    NULL::bigint AS id,
    NULL::text AS rule,
    NULL::text AS subject,
    NULL::text AS state,
    NULL::timestamp with time zone AS since,
    NULL::text AS severity,
    NULL::text AS value,
    NULL::text AS summary,
    NULL::text AS detail,
    NULL::text AS link,
    NULL::timestamp with time zone AS bad_since,
    NULL::boolean AS told,
    NULL::timestamp with time zone AS told_at,
    NULL::text[] AS told_to,
    NULL::timestamp with time zone AS silenced_until,
    NULL::timestamp with time zone AS seen_at;

CREATE VIEW towpath.check_events AS SELECT
    NULL::bigint AS id,
    NULL::text AS name,
    NULL::timestamp with time zone AS at,
    NULL::text AS status,
    NULL::text AS was,
    NULL::timestamp with time zone AS noted_at;

CREATE VIEW towpath.check_pings AS SELECT
    NULL::bigint AS id,
    NULL::text AS name,
    NULL::timestamp with time zone AS at,
    NULL::text AS kind,
    NULL::smallint AS exit_status,
    NULL::text AS run_id,
    NULL::interval AS duration,
    NULL::text AS source,
    NULL::text AS body,
    NULL::bigint AS body_bytes;

CREATE VIEW towpath.checks AS SELECT
    NULL::text AS name,
    NULL::text AS status,
    NULL::timestamp with time zone AS status_since,
    NULL::text AS description,
    NULL::interval AS period,
    NULL::text AS cron,
    NULL::text AS zone,
    NULL::interval AS grace,
    NULL::interval AS longest,
    NULL::timestamp with time zone AS last_ping,
    NULL::timestamp with time zone AS last_start,
    NULL::timestamp with time zone AS last_success,
    NULL::timestamp with time zone AS last_failure,
    NULL::smallint AS last_exit_status,
    NULL::interval AS last_duration,
    NULL::integer AS running,
    NULL::timestamp with time zone AS running_since,
    NULL::timestamp with time zone AS expected_by,
    NULL::interval AS late_by,
    NULL::text AS problem,
    NULL::bigint AS pings,
    NULL::timestamp with time zone AS created_at,
    NULL::timestamp with time zone AS updated_at,
    NULL::text AS updated_by;

CREATE VIEW towpath.counters AS SELECT
    NULL::text AS queue,
    NULL::text AS kind,
    NULL::text AS event,
    NULL::bigint AS n,
    NULL::double precision AS seconds;

CREATE VIEW towpath.departed AS SELECT
    NULL::text AS queue,
    NULL::text AS kind,
    NULL::bigint AS n;

CREATE VIEW towpath.failures AS SELECT
    NULL::text AS fingerprint,
    NULL::text AS kind,
    NULL::text AS pattern,
    NULL::bigint AS jobs,
    NULL::bigint AS discarded,
    NULL::timestamp with time zone AS first_seen,
    NULL::timestamp with time zone AS last_seen,
    NULL::bigint AS example_id,
    NULL::text AS example_error;

CREATE VIEW towpath.fleet AS SELECT
    NULL::text AS queue,
    NULL::bigint AS processes,
    NULL::bigint AS slots,
    NULL::boolean AS slots_unknown;

CREATE VIEW towpath.jobs AS SELECT
    NULL::bigint AS id,
    NULL::towpath.river_job_state AS state,
    NULL::text AS kind,
    NULL::text AS queue,
    NULL::smallint AS priority,
    NULL::smallint AS attempt,
    NULL::smallint AS max_attempts,
    NULL::jsonb AS args,
    NULL::character varying(255)[] AS tags,
    NULL::timestamp with time zone AS created_at,
    NULL::timestamp with time zone AS scheduled_at,
    NULL::timestamp with time zone AS attempted_at,
    NULL::timestamp with time zone AS finalized_at,
    NULL::text[] AS attempted_by,
    NULL::text AS last_error,
    NULL::jsonb[] AS errors,
    NULL::jsonb AS metadata,
    NULL::bytea AS unique_key,
    NULL::bit(8) AS unique_states,
    NULL::timestamp with time zone AS archived_at;

CREATE VIEW towpath.kind_schemas AS SELECT
    NULL::text AS kind,
    NULL::jsonb AS schema,
    NULL::boolean AS checked,
    NULL::timestamp with time zone AS told_at;

CREATE VIEW towpath.kinds AS SELECT
    NULL::text AS kind,
    NULL::bigint AS started,
    NULL::bigint AS completed,
    NULL::bigint AS failed,
    NULL::bigint AS discarded,
    NULL::bigint AS cancelled,
    NULL::double precision AS failure_ratio,
    NULL::double precision AS started_per_minute,
    NULL::interval AS wait_p50,
    NULL::interval AS wait_p95,
    NULL::interval AS run_p50,
    NULL::interval AS run_p95,
    NULL::bigint AS waiting,
    NULL::bigint AS processes;

CREATE VIEW towpath.leader AS SELECT
    NULL::text AS client_id,
    NULL::text AS host,
    NULL::integer AS pid,
    NULL::text[] AS roles,
    NULL::timestamp with time zone AS elected_at,
    NULL::timestamp with time zone AS expires_at;

CREATE VIEW towpath.lifecycle AS SELECT
    NULL::text AS queue,
    NULL::text AS kind,
    NULL::bigint AS received,
    NULL::bigint AS started,
    NULL::bigint AS succeeded,
    NULL::bigint AS failed,
    NULL::bigint AS retried,
    NULL::bigint AS snoozed,
    NULL::bigint AS interrupted,
    NULL::bigint AS cancelled,
    NULL::bigint AS discarded,
    NULL::bigint AS revived,
    NULL::bigint AS deleted,
    NULL::bigint AS finished;

CREATE VIEW towpath.logs AS SELECT
    NULL::bigint AS job_id,
    NULL::bigint AS id,
    NULL::timestamp with time zone AS at,
    NULL::smallint AS attempt,
    NULL::text AS event,
    NULL::text AS level,
    NULL::text AS message,
    NULL::double precision AS fraction,
    NULL::jsonb AS attrs;

CREATE VIEW towpath.pauses AS SELECT
    NULL::text AS queue,
    NULL::timestamp with time zone AS paused_at,
    NULL::text AS paused_by,
    NULL::text AS reason;

CREATE VIEW towpath.probe_events AS SELECT
    NULL::bigint AS id,
    NULL::text AS probe,
    NULL::timestamp with time zone AS at,
    NULL::text AS status,
    NULL::text AS before,
    NULL::timestamp with time zone AS since,
    NULL::double precision AS value,
    NULL::text AS detail;

CREATE VIEW towpath.probe_latest AS SELECT
    NULL::text AS probe,
    NULL::text AS series,
    NULL::double precision AS value,
    NULL::timestamp with time zone AS at;

CREATE VIEW towpath.probe_values AS SELECT
    NULL::text AS probe,
    NULL::text AS series,
    NULL::timestamp with time zone AS at,
    NULL::double precision AS value,
    NULL::interval AS width,
    NULL::integer AS n,
    NULL::double precision AS low,
    NULL::double precision AS high,
    NULL::double precision AS mean;

CREATE VIEW towpath.probes AS SELECT
    NULL::text AS name,
    NULL::text AS status,
    NULL::timestamp with time zone AS since,
    NULL::double precision AS value,
    NULL::text AS detail,
    NULL::timestamp with time zone AS last_run_at,
    NULL::timestamp with time zone AS last_ok_at,
    NULL::interval AS last_duration,
    NULL::bigint AS last_run,
    NULL::timestamp with time zone AS next_run_at,
    NULL::boolean AS running,
    NULL::bigint AS missing,
    NULL::bigint AS extra,
    NULL::bigint AS differing,
    NULL::jsonb AS examples,
    NULL::bigint AS series,
    NULL::text AS description,
    NULL::text AS query,
    NULL::text AS compare_with,
    NULL::interval AS every,
    NULL::interval AS timeout,
    NULL::text AS role,
    NULL::text[] AS key_columns,
    NULL::boolean AS empty_is_fine,
    NULL::double precision AS alert_above,
    NULL::double precision AS alert_below,
    NULL::timestamp with time zone AS paused_at,
    NULL::text AS paused_by,
    NULL::text AS pause_reason,
    NULL::text AS defined_in,
    NULL::text AS holds,
    NULL::text AS application,
    NULL::timestamp with time zone AS created_at,
    NULL::timestamp with time zone AS changed_at,
    NULL::text AS changed_by,
    NULL::jsonb AS code,
    NULL::jsonb AS edited;

CREATE VIEW towpath.processes AS SELECT
    NULL::text AS client_id,
    NULL::text AS host,
    NULL::integer AS pid,
    NULL::text AS version,
    NULL::text[] AS roles,
    NULL::jsonb AS queues,
    NULL::text[] AS kinds,
    NULL::integer AS slots,
    NULL::integer AS running,
    NULL::text AS status,
    NULL::boolean AS leads,
    NULL::timestamp with time zone AS since,
    NULL::timestamp with time zone AS beat_at,
    NULL::timestamp with time zone AS stopped_at,
    NULL::timestamp with time zone AS dead_at,
    NULL::bigint AS epoch;

CREATE VIEW towpath.queues AS SELECT
    NULL::text AS queue,
    NULL::bigint AS available,
    NULL::bigint AS scheduled,
    NULL::bigint AS retryable,
    NULL::bigint AS running,
    NULL::bigint AS pending,
    NULL::timestamp with time zone AS counted_at,
    NULL::interval AS oldest,
    NULL::double precision AS started_per_minute,
    NULL::double precision AS finished_per_minute,
    NULL::bigint AS processes,
    NULL::bigint AS slots,
    NULL::timestamp with time zone AS paused_at,
    NULL::text AS paused_by;

CREATE VIEW towpath.schedule_backfills AS SELECT
    NULL::bigint AS id,
    NULL::text AS schedule,
    NULL::timestamp with time zone AS from_at,
    NULL::timestamp with time zone AS to_at,
    NULL::integer AS at_once,
    NULL::integer AS fired,
    NULL::bigint AS open_runs,
    NULL::timestamp with time zone AS created_at,
    NULL::text AS created_by,
    NULL::timestamp with time zone AS ended_at,
    NULL::boolean AS cancelled;

CREATE VIEW towpath.schedule_events AS SELECT
    NULL::bigint AS id,
    NULL::text AS schedule,
    NULL::timestamp with time zone AS at,
    NULL::text AS status,
    NULL::text AS before,
    NULL::timestamp with time zone AS since,
    NULL::timestamp with time zone AS due,
    NULL::bigint AS job_id;

CREATE VIEW towpath.schedule_runs AS SELECT
    NULL::text AS schedule,
    NULL::bigint AS n,
    NULL::timestamp with time zone AS tick,
    NULL::timestamp with time zone AS due,
    NULL::integer AS ticks,
    NULL::text AS cause,
    NULL::bigint AS backfill,
    NULL::timestamp with time zone AS fired_at,
    NULL::bigint AS job_id,
    NULL::text AS outcome,
    NULL::smallint AS attempt,
    NULL::timestamp with time zone AS started_at,
    NULL::timestamp with time zone AS finished_at,
    NULL::interval AS duration,
    NULL::text AS process,
    NULL::text AS host,
    NULL::text AS note;

CREATE VIEW towpath.schedules AS SELECT
    NULL::text AS name,
    NULL::text AS expression,
    NULL::text AS in_words,
    NULL::text AS zone,
    NULL::text AS kind,
    NULL::jsonb AS args,
    NULL::text AS queue,
    NULL::integer AS priority,
    NULL::text AS status,
    NULL::timestamp with time zone AS status_since,
    NULL::timestamp with time zone AS next_run,
    NULL::interval AS late_by,
    NULL::timestamp with time zone AS last_start,
    NULL::timestamp with time zone AS last_success,
    NULL::timestamp with time zone AS last_failure,
    NULL::text AS last_outcome,
    NULL::interval AS last_duration,
    NULL::interval AS usual_duration,
    NULL::interval AS off_usual,
    NULL::timestamp with time zone AS running_since,
    NULL::integer AS open_runs,
    NULL::timestamp with time zone AS paused_at,
    NULL::text AS paused_by,
    NULL::text AS pause_reason,
    NULL::text AS defined_in,
    NULL::text AS holds,
    NULL::text AS application,
    NULL::timestamp with time zone AS starts_at,
    NULL::timestamp with time zone AS ends_at,
    NULL::interval AS jitter,
    NULL::text AS missed,
    NULL::interval AS skip_after,
    NULL::text AS overlap,
    NULL::interval AS grace,
    NULL::interval AS longest,
    NULL::timestamp with time zone AS created_at,
    NULL::timestamp with time zone AS changed_at,
    NULL::text AS changed_by,
    NULL::text AS problem,
    NULL::jsonb AS code,
    NULL::jsonb AS edited;

CREATE VIEW towpath.silences AS SELECT
    NULL::bigint AS id,
    NULL::text AS rule,
    NULL::text AS subject,
    NULL::text AS reason,
    NULL::text AS author,
    NULL::timestamp with time zone AS created_at,
    NULL::timestamp with time zone AS ends_at,
    NULL::boolean AS active,
    NULL::text AS ended_by;

CREATE VIEW towpath.timeline AS SELECT
    NULL::bigint AS job_id,
    NULL::timestamp with time zone AS at,
    NULL::text AS event,
    NULL::integer AS attempt,
    NULL::text AS host,
    NULL::text AS detail;

CREATE VIEW towpath.waiting AS SELECT
    NULL::bigint AS id,
    NULL::towpath.river_job_state AS state,
    NULL::text AS kind,
    NULL::text AS queue,
    NULL::smallint AS priority,
    NULL::timestamp with time zone AS scheduled_at,
    NULL::text AS reason,
    NULL::text AS explanation,
    NULL::text[] AS also;

CREATE TRIGGER tell_alert_event AFTER INSERT ON towpath.alert_event FOR EACH ROW EXECUTE FUNCTION towpath.tell_alert_event();

CREATE TRIGGER audit_stays BEFORE DELETE OR UPDATE OR TRUNCATE ON towpath.audit FOR EACH STATEMENT EXECUTE FUNCTION towpath.audit_stays();

CREATE TRIGGER tell_check_event AFTER INSERT ON towpath.heartbeat_event FOR EACH ROW EXECUTE FUNCTION towpath.tell_check_event();

CREATE TRIGGER tell_probe_event AFTER UPDATE OF status ON towpath.probe FOR EACH ROW WHEN ((old.status <> new.status)) EXECUTE FUNCTION towpath.tell_probe_event();
