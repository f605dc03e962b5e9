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
CREATE TABLE quakes.cell (replay bigint, event text, latitude integer NOT NULL, longitude integer NOT NULL, PRIMARY KEY (replay, event));
