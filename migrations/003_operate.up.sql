-- Operating from SQL: cancel, retry and delete jobs, pause and resume queues, and a record of who did it.
--
-- The transitions are those of River's client on our driver: a job that ends or comes back moves between river_job and
-- job_history, and is counted, in one statement. All functions run with the rights of their owner and are callable by
-- whom they are granted to; the record names the session's user, whatever role it has taken on.
--
-- Locks: one new table, new functions.

--
-- The record
--
CREATE TABLE /* TEMPLATE: schema */audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL DEFAULT session_user,
    on_behalf_of text DEFAULT nullif(current_setting('towpath.actor', true), ''),
    action text NOT NULL,
    target text NOT NULL,
    job_id bigint,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_target_idx ON /* TEMPLATE: schema */audit (target, id);
CREATE INDEX audit_job_idx ON /* TEMPLATE: schema */audit (job_id, id) WHERE job_id IS NOT NULL;

COMMENT ON TABLE /* TEMPLATE: schema */audit IS
    'What operators did, written by the functions that did it, in the same transaction. Rows are never changed or deleted.';
COMMENT ON COLUMN /* TEMPLATE: schema */audit.id IS 'Grows with every action.';
COMMENT ON COLUMN /* TEMPLATE: schema */audit.at IS 'When the transaction of the action began.';
COMMENT ON COLUMN /* TEMPLATE: schema */audit.actor IS 'The database user of the session.';
COMMENT ON COLUMN /* TEMPLATE: schema */audit.on_behalf_of IS
    'Whom that user acted for, as it said itself in the setting towpath.actor: a login of the dashboard, for example.';
COMMENT ON COLUMN /* TEMPLATE: schema */audit.action IS 'The function: cancel_job, retry_job, delete_job, pause_queue, resume_queue, cancel_jobs, retry_jobs, delete_jobs and others.';
COMMENT ON COLUMN /* TEMPLATE: schema */audit.target IS 'What it was done to: ''job 42'', ''queue default'', ''queue *'' for all queues, ''jobs'' for a bulk action.';
COMMENT ON COLUMN /* TEMPLATE: schema */audit.job_id IS 'The job, where the target is one.';
COMMENT ON COLUMN /* TEMPLATE: schema */audit.details IS
    'What belongs to the action: the reason given, the state before, the filter of a bulk action and, on each of its jobs, the id of its row (call).';

CREATE FUNCTION /* TEMPLATE: schema */acting() RETURNS text
    LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('towpath.actor', true), ''), session_user);
COMMENT ON FUNCTION /* TEMPLATE: schema */acting() IS 'Internal: who acts, as the session says itself in towpath.actor, or else its database user.';

CREATE FUNCTION /* TEMPLATE: schema */audit_action(action text, target text, details jsonb) RETURNS void
    LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO /* TEMPLATE: schema */audit (action, target, details) VALUES (action, target, jsonb_strip_nulls(details));
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */audit_action(text, text, jsonb) IS 'Internal: records an action, and of its details what is not null.';

CREATE FUNCTION /* TEMPLATE: schema */audit_stays() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'the audit record is append-only' USING ERRCODE = 'insufficient_privilege',
        HINT = 'Its owner may drop and recreate the trigger audit_stays around a clean-up that was agreed on.';
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */audit_stays() IS 'Internal: keeps the rows of audit as they are.';
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON /* TEMPLATE: schema */audit
    FOR EACH STATEMENT EXECUTE FUNCTION /* TEMPLATE: schema */audit_stays();

--
-- Transitions of many jobs, by id
--
-- Each first locks the live rows, in the order of their ids so that two of them cannot wait for each other, and then
-- acts in a statement of its own, whose snapshot shows the rows as they were locked. wait says what to do about a row
-- that another transaction holds: a single action waits for it, as in River, one of many passes on.
--
-- A job that is not in river_job is looked for in job_history by a later statement, whose snapshot sees what left
-- river_job while the lock was waited for.
--
CREATE FUNCTION /* TEMPLATE: schema */lock_jobs(ids bigint[], wait boolean) RETURNS bigint[]
    LANGUAGE plpgsql
AS $$
BEGIN
    IF wait THEN
        RETURN coalesce(array_agg(l.id), '{}') FROM (SELECT id FROM /* TEMPLATE: schema */river_job WHERE id = ANY (ids) ORDER BY id FOR UPDATE) l;
    END IF;
    RETURN coalesce(array_agg(l.id), '{}')
        FROM (SELECT id FROM /* TEMPLATE: schema */river_job WHERE id = ANY (ids) ORDER BY id FOR UPDATE SKIP LOCKED) l;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */lock_jobs(bigint[], boolean) IS 'Internal: locks live jobs and returns the ids of those it got.';

CREATE FUNCTION /* TEMPLATE: schema */cancel_locked(ids bigint[], in_place boolean)
    RETURNS TABLE (id bigint, state text, changed boolean, note text)
    LANGUAGE sql
BEGIN ATOMIC
    WITH job AS (
        SELECT * FROM /* TEMPLATE: schema */river_job j WHERE j.id = ANY (ids)
    ), asked AS (
        UPDATE /* TEMPLATE: schema */river_job j
        SET metadata = jsonb_set(j.metadata, '{cancel_attempted_at}', to_jsonb(clock_timestamp()))
        FROM job
        WHERE j.id = job.id AND job.state = 'running'
        -- River's own bytes on its control channel; the worker's process cancels the context of the job.
        RETURNING j.id, pg_notify(/* TEMPLATE: schema */schema_name() || '.river_control',
            json_build_object('action', 'cancel', 'job_id', j.id, 'queue', j.queue)::text)
    ), ended AS (
        SELECT job.id, args, attempt, attempted_at, attempted_by, created_at, errors, clock_timestamp() AS finalized_at, kind, max_attempts,
            jsonb_set(metadata, '{cancel_attempted_at}', to_jsonb(clock_timestamp())) AS metadata, priority, queue,
            'cancelled'::/* TEMPLATE: schema */river_job_state AS state, scheduled_at, tags, unique_key, unique_states
        FROM job
        WHERE job.state IN ('available', 'pending', 'retryable', 'scheduled')
    ), leaving AS (
        -- A row whose unique key holds in its final state stays where the key is enforced.
        SELECT * FROM ended
        WHERE NOT in_place AND (unique_key IS NULL OR unique_states IS NULL
            OR NOT /* TEMPLATE: schema */river_job_state_in_bitmask(unique_states, ended.state))
    ), gone AS (
        DELETE FROM /* TEMPLATE: schema */river_job j USING leaving WHERE j.id = ANY (ids) AND j.id = leaving.id
    ), archived AS (
        INSERT INTO /* TEMPLATE: schema */job_history (id, args, attempt, attempted_at, attempted_by, created_at, errors, finalized_at, kind,
            max_attempts, metadata, priority, queue, state, scheduled_at, tags, unique_key, unique_states)
        SELECT * FROM leaving
    ), kept AS (
        UPDATE /* TEMPLATE: schema */river_job j SET state = ended.state, finalized_at = ended.finalized_at, metadata = ended.metadata
        FROM ended
        WHERE j.id = ANY (ids) AND j.id = ended.id AND ended.id NOT IN (SELECT leaving.id FROM leaving)
    ), counted AS (
        INSERT INTO /* TEMPLATE: schema */counter_delta (queue, kind, event, bucket, n)
        SELECT queue, kind, 'cancelled_waiting', 0, count(*) FROM ended GROUP BY queue, kind
    )
    SELECT asked.id, 'running', true, 'was running; its worker is told to stop' FROM asked
    UNION ALL
    SELECT job.id, 'cancelled', true, 'was ' || job.state FROM ended JOIN job USING (id)
    UNION ALL
    SELECT job.id, job.state::text, false, 'was ' || job.state || ' already' FROM job WHERE job.finalized_at IS NOT NULL;
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */cancel_locked(bigint[], boolean) IS 'Internal: cancels live jobs that the caller has locked.';

CREATE FUNCTION /* TEMPLATE: schema */cancel_ids(ids bigint[], wait boolean)
    RETURNS TABLE (id bigint, state text, changed boolean, note text)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    locked constant bigint[] := /* TEMPLATE: schema */lock_jobs(ids, wait);
BEGIN
    BEGIN
        RETURN QUERY SELECT * FROM /* TEMPLATE: schema */cancel_locked(locked, false);
    EXCEPTION WHEN check_violation OR foreign_key_violation THEN
        -- History will not take the row: there is no partition for today, or somebody put a constraint on it. The job
        -- must be able to end all the same; the leader moves it when it can.
        RETURN QUERY SELECT * FROM /* TEMPLATE: schema */cancel_locked(locked, true);
    END;
    RETURN QUERY SELECT h.id, h.state::text, false, 'was ' || h.state || ' already' FROM /* TEMPLATE: schema */job_history h
        WHERE h.id = ANY (ids) AND NOT h.id = ANY (locked);
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */cancel_ids(bigint[], boolean) IS 'Internal: cancels jobs by id; a job that is in neither table gets no row.';

CREATE FUNCTION /* TEMPLATE: schema */key_holder(job_id bigint, key bytea) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER -- for the view waiting, which calls it with the rights of who looks
    SET search_path = pg_catalog, pg_temp
    RETURN (SELECT o.id FROM /* TEMPLATE: schema */river_job o
        WHERE o.unique_key = key AND o.unique_key IS NOT NULL AND o.unique_states IS NOT NULL
            AND /* TEMPLATE: schema */river_job_state_in_bitmask(o.unique_states, o.state) AND o.id <> job_id);
COMMENT ON FUNCTION /* TEMPLATE: schema */key_holder(bigint, bytea) IS 'Internal: the other job that holds a unique key now.';

CREATE FUNCTION /* TEMPLATE: schema */retry_ids(ids bigint[], wait boolean)
    RETURNS TABLE (id bigint, state text, changed boolean, note text)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    locked constant bigint[] := /* TEMPLATE: schema */lock_jobs(ids, wait);
BEGIN
    RETURN QUERY
    WITH job AS (
        SELECT j.*, /* TEMPLATE: schema */key_holder(j.id, j.unique_key) AS holder, row_number() OVER (PARTITION BY j.unique_key ORDER BY j.id) AS nth
        FROM /* TEMPLATE: schema */river_job j WHERE j.id = ANY (locked)
    ), ready AS (
        SELECT * FROM job
        WHERE job.state <> 'running' AND holder IS NULL AND (unique_key IS NULL OR nth = 1)
            -- A job that waits in line already must not be set back.
            AND NOT (job.state = 'available' AND scheduled_at < clock_timestamp())
    ), updated AS (
        UPDATE /* TEMPLATE: schema */river_job j
        SET state = 'available', finalized_at = NULL, scheduled_at = clock_timestamp(),
            max_attempts = CASE WHEN j.attempt >= j.max_attempts THEN j.attempt + 1 ELSE j.max_attempts END,
            -- A cancellation asked for during an earlier attempt must not cancel the next one.
            metadata = j.metadata - 'cancel_attempted_at'
        FROM ready
        WHERE j.id = ready.id
        RETURNING j.id, pg_notify(/* TEMPLATE: schema */schema_name() || '.river_insert', '{"queue": "' || j.queue || '"}')
    ), counted AS (
        INSERT INTO /* TEMPLATE: schema */counter_delta (queue, kind, event, bucket, n)
        SELECT queue, kind, 'revived', 0, count(*) FROM ready WHERE finalized_at IS NOT NULL GROUP BY queue, kind
    )
    SELECT updated.id, 'available', true, 'was ' || ready.state FROM updated JOIN ready USING (id)
    UNION ALL
    SELECT job.id, job.state::text, false, CASE
        WHEN job.state = 'running' THEN 'is running'
        WHEN holder IS NOT NULL THEN 'job ' || holder || ' holds its unique key'
        WHEN job.unique_key IS NOT NULL AND nth > 1 THEN 'another job of this call holds its unique key'
        ELSE 'was available already' END
    FROM job WHERE job.id NOT IN (SELECT ready.id FROM ready);

    RETURN QUERY
    WITH job AS (
        SELECT h.id, h.state, h.unique_key, /* TEMPLATE: schema */key_holder(h.id, h.unique_key) AS holder,
            row_number() OVER (PARTITION BY h.unique_key ORDER BY h.id) AS nth
        FROM /* TEMPLATE: schema */job_history h WHERE h.id = ANY (ids) AND NOT h.id = ANY (locked)
    ), gone AS (
        DELETE FROM /* TEMPLATE: schema */job_history h USING job
        WHERE h.id = ANY (ids) AND h.id = job.id AND holder IS NULL AND (job.unique_key IS NULL OR nth = 1)
        RETURNING h.*
    ), back AS (
        INSERT INTO /* TEMPLATE: schema */river_job AS j (id, args, attempt, attempted_at, attempted_by, created_at, errors, kind, max_attempts,
            metadata, priority, queue, state, scheduled_at, tags, unique_key, unique_states)
        SELECT id, args, attempt, attempted_at, attempted_by, created_at, errors, kind,
            CASE WHEN attempt >= max_attempts THEN attempt + 1 ELSE max_attempts END, metadata - 'cancel_attempted_at', priority, queue,
            'available', clock_timestamp(), tags, unique_key, unique_states
        FROM gone
        RETURNING j.id, pg_notify(/* TEMPLATE: schema */schema_name() || '.river_insert', '{"queue": "' || j.queue || '"}')
    ), counted AS (
        INSERT INTO /* TEMPLATE: schema */counter_delta (queue, kind, event, bucket, n)
        SELECT queue, kind, 'revived', 0, count(*) FROM gone GROUP BY queue, kind
    )
    SELECT back.id, 'available', true, 'was ' || job.state FROM back JOIN job USING (id)
    UNION ALL
    SELECT job.id, job.state::text, false, CASE WHEN holder IS NOT NULL THEN 'job ' || holder || ' holds its unique key'
        ELSE 'another job of this call holds its unique key' END
    FROM job WHERE holder IS NOT NULL OR job.unique_key IS NOT NULL AND nth > 1;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */retry_ids(bigint[], boolean) IS
    'Internal: makes jobs available again by id, finished ones from history among them; a job that is in neither table gets no row.';

CREATE FUNCTION /* TEMPLATE: schema */delete_ids(ids bigint[], wait boolean)
    RETURNS TABLE (id bigint, state text, changed boolean, note text)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    locked constant bigint[] := /* TEMPLATE: schema */lock_jobs(ids, wait);
BEGIN
    RETURN QUERY
    WITH live AS (
        DELETE FROM /* TEMPLATE: schema */river_job j WHERE j.id = ANY (locked) AND j.state::text <> 'running' RETURNING j.*
    ), kept AS (
        DELETE FROM /* TEMPLATE: schema */job_history h WHERE h.id = ANY (ids) AND NOT h.id = ANY (locked) RETURNING h.id, h.state
    ), gone AS (
        SELECT live.id, live.state FROM live UNION ALL SELECT * FROM kept
    ), counted AS (
        -- What was deleted before it ended would otherwise be missing between what came in and what went out.
        INSERT INTO /* TEMPLATE: schema */counter_delta (queue, kind, event, bucket, n)
        SELECT queue, kind, 'deleted', 0, count(*) FROM live WHERE finalized_at IS NULL GROUP BY queue, kind
    ), events AS (
        DELETE FROM /* TEMPLATE: schema */job_event e WHERE e.job_id IN (SELECT gone.id FROM gone)
    )
    SELECT gone.id, gone.state::text, true, 'was ' || gone.state FROM gone
    UNION ALL
    SELECT j.id, j.state::text, false, 'is running' FROM /* TEMPLATE: schema */river_job j WHERE j.id = ANY (locked) AND j.state::text = 'running';
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */delete_ids(bigint[], boolean) IS
    'Internal: deletes jobs by id, with what they logged; running jobs stay, a job that is in neither table gets no row.';

CREATE FUNCTION /* TEMPLATE: schema */transition(action text, ids bigint[], wait boolean)
    RETURNS TABLE (id bigint, state text, changed boolean, note text)
    LANGUAGE plpgsql
AS $$
BEGIN
    CASE action
        WHEN 'cancel_job' THEN RETURN QUERY SELECT * FROM /* TEMPLATE: schema */cancel_ids(ids, wait);
        WHEN 'retry_job' THEN RETURN QUERY SELECT * FROM /* TEMPLATE: schema */retry_ids(ids, wait);
        WHEN 'delete_job' THEN RETURN QUERY SELECT * FROM /* TEMPLATE: schema */delete_ids(ids, wait);
    END CASE;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */transition(text, bigint[], boolean) IS 'Internal: one of cancel_ids, retry_ids and delete_ids.';

--
-- One job
--
CREATE FUNCTION /* TEMPLATE: schema */act_on_job(action text, job_id bigint)
    RETURNS TABLE (id bigint, state text, changed boolean, note text)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    outcome record;
BEGIN
    -- A job that moves from history back to river_job between the two looks is found by another try.
    FOR try IN 1 .. 3 LOOP
        SELECT * INTO outcome FROM /* TEMPLATE: schema */transition(action, ARRAY[job_id], true);
        EXIT WHEN FOUND;
    END LOOP;
    IF outcome.id IS NULL THEN
        RAISE EXCEPTION 'job % does not exist', coalesce(job_id::text, 'NULL') USING ERRCODE = 'no_data_found',
            HINT = 'The transaction that enqueued it may not have committed, or its history may be past its time.';
    END IF;
    IF NOT outcome.changed AND action = 'delete_job' THEN
        RAISE EXCEPTION 'job % is running and cannot be deleted', job_id USING ERRCODE = 'object_in_use',
            HINT = 'Cancel it first.';
    END IF;
    IF outcome.note LIKE '%holds its unique key' THEN
        RAISE EXCEPTION 'job % cannot run again: %', job_id, outcome.note USING ERRCODE = 'unique_violation',
            CONSTRAINT = 'river_job_unique_idx', HINT = 'Cancel or delete that job first, or leave the work to it.';
    END IF;
    IF outcome.changed THEN
        INSERT INTO /* TEMPLATE: schema */audit (action, target, job_id, details)
            VALUES (action, 'job ' || job_id, act_on_job.job_id, jsonb_build_object('note', outcome.note));
    END IF;
    RETURN QUERY SELECT outcome.id, outcome.state, outcome.changed, outcome.note;
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */act_on_job(text, bigint) IS 'Internal: cancels, retries or deletes one job and records it.';

CREATE FUNCTION /* TEMPLATE: schema */cancel_job(job_id bigint, OUT id bigint, OUT state text, OUT changed boolean, OUT note text)
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */act_on_job('cancel_job', job_id);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */cancel_job(bigint) IS
    'Cancels a job. One that waits is cancelled at once. One that runs is asked to stop: its context is cancelled, and unless it succeeds all the same it ends cancelled; state stays running until then. A finished job is left alone (changed is false). Fails with P0002 if there is no such job.';

CREATE FUNCTION /* TEMPLATE: schema */retry_job(job_id bigint, OUT id bigint, OUT state text, OUT changed boolean, OUT note text)
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */act_on_job('retry_job', job_id);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */retry_job(bigint) IS
    'Makes a job available now, whether it is scheduled, waits for its next attempt or has finished; a finished one comes back from history under its id, with one more attempt if it had used them up. A running job, and one that is in line already, is left alone (changed is false). Fails with 23505 if another job holds its unique key by now, with P0002 if there is no such job.';

CREATE FUNCTION /* TEMPLATE: schema */delete_job(job_id bigint, OUT id bigint, OUT state text, OUT changed boolean, OUT note text)
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */act_on_job('delete_job', job_id);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */delete_job(bigint) IS
    'Deletes a job, waiting or finished, with what it logged; state is the one it had. Fails with 55006 if it is running, with P0002 if there is no such job.';

--
-- Queues
--
CREATE FUNCTION /* TEMPLATE: schema */known_queues() RETURNS text
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(string_agg(q.name, ', ' ORDER BY q.name), 'none yet') FROM /* TEMPLATE: schema */river_queue q;
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */known_queues() IS 'Internal: the queues that exist, for a message.';

CREATE FUNCTION /* TEMPLATE: schema */set_paused(action text, name text, pause boolean, reason text)
    RETURNS TABLE (queue text, paused_at timestamptz, changed boolean)
    LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    fault constant text[] := /* TEMPLATE: schema */job_fault('job', '{}', set_paused.name, 1, NULL, 1, '{}', '{}');
BEGIN
    IF pause AND name <> '*' AND NOT EXISTS (SELECT FROM /* TEMPLATE: schema */river_queue q WHERE q.name = set_paused.name) THEN
        IF fault[1] = 'queue' THEN
            PERFORM /* TEMPLATE: schema */raise_fault(ARRAY['name', fault[2], fault[3]], 'Parameter %s of ' || action || '.');
        END IF;
        RAISE NOTICE 'no worker of queue % is known: it is paused for the first one', /* TEMPLATE: schema */shown(name)
            USING HINT = 'If the name is a mistake, resume it. Queues: ' || /* TEMPLATE: schema */known_queues() || '.';
        -- A worker that starts meanwhile inserts the same row, as it is for a queue that is not paused; the first one stays.
        INSERT INTO /* TEMPLATE: schema */river_queue (name) VALUES (set_paused.name) ON CONFLICT ON CONSTRAINT river_queue_pkey DO NOTHING;
    END IF;
    RETURN QUERY
    WITH queues AS (
        SELECT * FROM /* TEMPLATE: schema */river_queue q WHERE set_paused.name IN ('*', q.name) ORDER BY q.name FOR UPDATE
    ), updated AS (
        UPDATE /* TEMPLATE: schema */river_queue q
        SET paused_at = CASE WHEN pause THEN now() END, updated_at = now()
        FROM queues
        WHERE q.name = queues.name AND (queues.paused_at IS NULL) = pause
        RETURNING q.name
    )
    SELECT queues.name, CASE WHEN pause THEN coalesce(queues.paused_at, now()) END, updated.name IS NOT NULL
    FROM queues LEFT JOIN updated USING (name) ORDER BY queues.name;
    IF NOT FOUND AND name IS DISTINCT FROM '*' THEN
        RAISE EXCEPTION 'queue % does not exist', coalesce(/* TEMPLATE: schema */shown(name), 'NULL') USING ERRCODE = 'no_data_found',
            DETAIL = 'Queues: ' || /* TEMPLATE: schema */known_queues() || '.',
            HINT = 'A queue exists once a worker has worked it, or somebody has paused it; * stands for all queues.';
    END IF;
    -- As River does, also when nothing changed: a worker may have missed it the first time.
    PERFORM pg_notify(/* TEMPLATE: schema */schema_name() || '.river_control',
        format('{"action":"%s","queue":"%s"}', CASE WHEN pause THEN 'pause' ELSE 'resume' END, name));
    PERFORM /* TEMPLATE: schema */audit_action(action, 'queue ' || name, jsonb_build_object('reason', reason));
END;
$$;
COMMENT ON FUNCTION /* TEMPLATE: schema */set_paused(text, text, boolean, text) IS 'Internal: pauses or resumes a queue or all of them, and records it.';

CREATE FUNCTION /* TEMPLATE: schema */pause_queue(name text, reason text DEFAULT NULL, OUT queue text, OUT paused_at timestamptz, OUT changed boolean)
    RETURNS SETOF record
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */set_paused('pause_queue', name, true, reason);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */pause_queue(text, text) IS
    'Stops the workers from fetching jobs of a queue, or of all queues that exist (*); what runs goes on, and jobs may still be enqueued. A queue that no worker has worked yet is paused for the first one. changed is false for a queue that was paused already; the reason goes into the record.';

CREATE FUNCTION /* TEMPLATE: schema */resume_queue(name text, OUT queue text, OUT paused_at timestamptz, OUT changed boolean)
    RETURNS SETOF record
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT * FROM /* TEMPLATE: schema */set_paused('resume_queue', name, false, NULL);
END;
COMMENT ON FUNCTION /* TEMPLATE: schema */resume_queue(text) IS
    'Lets the workers fetch jobs of a queue again, or of all queues (*). changed is false for a queue that was not paused. Fails with P0002 if there is no such queue.';

REVOKE ALL ON FUNCTION
    /* TEMPLATE: schema */acting, /* TEMPLATE: schema */audit_action, /* TEMPLATE: schema */audit_stays, /* TEMPLATE: schema */lock_jobs, /* TEMPLATE: schema */cancel_locked, /* TEMPLATE: schema */cancel_ids,
    /* TEMPLATE: schema */key_holder, /* TEMPLATE: schema */retry_ids, /* TEMPLATE: schema */delete_ids, /* TEMPLATE: schema */transition, /* TEMPLATE: schema */act_on_job,
    /* TEMPLATE: schema */cancel_job, /* TEMPLATE: schema */retry_job, /* TEMPLATE: schema */delete_job, /* TEMPLATE: schema */known_queues, /* TEMPLATE: schema */set_paused,
    /* TEMPLATE: schema */pause_queue, /* TEMPLATE: schema */resume_queue
FROM PUBLIC;
SELECT /* TEMPLATE: schema */pin_search_path();
