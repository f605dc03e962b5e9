-- The tables of the sample. Every row belongs to a replay, so that one that was interrupted does not spoil the next.
-- Locks nothing but what it creates.
CREATE SCHEMA quakes;
CREATE TABLE quakes.replay (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE quakes.event (
    replay bigint REFERENCES quakes.replay, id text, PRIMARY KEY (replay, id),
    happened_at timestamptz NOT NULL, magnitude double precision, -- some reports have none
    place text NOT NULL, longitude double precision NOT NULL, latitude double precision NOT NULL,
    network text NOT NULL, event_type text NOT NULL, significance integer NOT NULL, tsunami boolean NOT NULL,
    region text, -- by the job quakes.locate
    alert text   -- by the job quakes.assess
);
-- What the feed has told, as it came. A probe compares it with the catalogue, which is the table above, and both for the
-- last replay alone. It runs under a role of its own.
CREATE TABLE quakes.feed (replay bigint REFERENCES quakes.replay, id text, PRIMARY KEY (replay, id));
CREATE VIEW quakes.told AS SELECT id FROM quakes.feed WHERE replay = (SELECT max(id) FROM quakes.replay);
CREATE VIEW quakes.catalogue AS SELECT id FROM quakes.event WHERE replay = (SELECT max(id) FROM quakes.replay);
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'towpath_probe') THEN
        GRANT USAGE ON SCHEMA quakes TO towpath_probe;
        GRANT SELECT ON quakes.told, quakes.catalogue TO towpath_probe;
    END IF;
END $$;
-- The jobs that follow from the events, written by the transactions that enqueued them.
CREATE TABLE quakes.expected (replay bigint REFERENCES quakes.replay, job_id bigint, PRIMARY KEY (replay, job_id));
-- What the jobs did, a row for each time. Nothing here keeps a job from having two: that is what the summary counts.
CREATE TABLE quakes.effect (
    replay bigint NOT NULL, job_id bigint NOT NULL, kind text NOT NULL, event text NOT NULL, result text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON quakes.effect (replay, job_id);
-- The search index, by the job quakes.index.
CREATE TABLE quakes.word (replay bigint, event text, word text, PRIMARY KEY (replay, event, word));
CREATE FUNCTION quakes.index(replay bigint, event text, words text[]) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    DELETE FROM quakes.word w WHERE w.replay = index.replay AND w.event = index.event;
    INSERT INTO quakes.word (replay, event, word) SELECT DISTINCT index.replay, index.event, unnest(words);
END;
-- The hourly and the weekly digest, by the job quakes.report.
CREATE TABLE quakes.report (tick timestamptz, hours integer, events bigint, before bigint, strongest double precision);
CREATE FUNCTION quakes.compare(hours integer, OUT events bigint, OUT before bigint, OUT strongest double precision) LANGUAGE sql
BEGIN ATOMIC
    SELECT count(*) FILTER (WHERE age < 1), count(*) FILTER (WHERE age >= 1), max(magnitude) FILTER (WHERE age < 1)
    FROM (SELECT magnitude, extract(epoch FROM max(happened_at) OVER () - happened_at) / 3600 / hours AS age FROM quakes.event
        WHERE replay = (SELECT max(id) FROM quakes.replay)) e WHERE age < 2;
END;
