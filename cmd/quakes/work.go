package main

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// newBundle lists what this application can work.
func newBundle() *workers.Bundle {
	bundle := workers.NewBundle()
	soon := workers.WithBackoff(jobs.Backoff{First: 200 * time.Millisecond, Max: 10 * time.Second})
	workers.Add(bundle, &worker[locateArgs]{do: locate}, soon)
	workers.Add(bundle, &worker[assessArgs]{do: assess}, soon)
	workers.Add(bundle, &worker[indexArgs]{do: index}, soon)
	workers.Add(bundle, reportWorker{})
	bundle.AddProbe(jobs.Probe{Name: "feed and catalogue", Query: "SELECT id FROM quakes.told", CompareWith: "SELECT id FROM quakes.catalogue", Every: time.Second})
	return bundle
}

// addSchedules has a digest of each hour and week of the feed. Only who replays adds them, since the speed is known there.
func addSchedules(bundle *workers.Bundle, speed float64) {
	for name, hours := range map[string]int{"hourly digest": 1, "weekly digest": 168} {
		seconds := min(max(float64(hours)*3600/cmp.Or(speed, 3600), 1), 1e9) // without a pause as at the usual speed
		bundle.AddSchedule(jobs.Schedule{Name: name, Expression: fmt.Sprintf("@every %.0fs", seconds), Args: pastArgs{Hours: hours}})
	}
}

type reportWorker struct{ river.WorkerDefaults[pastArgs] }

// Work compares. The tick is the moment that the schedule names, whenever its job runs.
func (reportWorker) Work(ctx context.Context, job *river.Job[pastArgs]) error {
	_, tick, _ := workers.Tick(ctx)
	return workers.DoTx(ctx, job, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO quakes.report SELECT $1, $2, * FROM quakes.compare($2)", tick, job.Args.Hours)
		return err
	})
}

// worker runs do in a transaction that also completes the job: what it writes and the job's end are committed together,
// so each job has its effect exactly once, however often it is tried.
type worker[T jobArgs] struct {
	river.WorkerDefaults[T]
	do func(ctx context.Context, tx pgx.Tx, replay int64, e *event) (result string, err error)
}

func (w *worker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	return workers.DoTx(ctx, job, func(tx pgx.Tx) error {
		ref := job.Args.ref()
		e, err := lockEvent(ctx, tx, ref)
		if err != nil {
			return fmt.Errorf("read event %q: %w", ref.Event, err)
		}
		if err := askUpstream(e, job.Attempt); err != nil {
			return err
		}
		result, err := w.do(ctx, tx, ref.Replay, e)
		if err != nil {
			return fmt.Errorf("%s of event %q: %w", job.Kind, e.id, err)
		}
		_, err = tx.Exec(ctx, "INSERT INTO quakes.effect (replay, job_id, kind, event, result) VALUES ($1, $2, $3, $4, $5)",
			ref.Replay, job.ID, job.Kind, e.id, result)
		return err
	})
}

// lockEvent reads the event and keeps it from changing until the transaction ends. The importer takes the same lock
// before it enqueues, so an update either is seen here, or comes after the job's end and gets a job of its own.
func lockEvent(ctx context.Context, tx pgx.Tx, ref eventRef) (*event, error) {
	e := &event{id: ref.Event}
	err := tx.QueryRow(ctx, `SELECT magnitude, place, longitude, latitude, network, event_type, significance, tsunami
		FROM quakes.event WHERE replay = $1 AND id = $2 FOR UPDATE`, ref.Replay, ref.Event).
		Scan(&e.magnitude, &e.place, &e.longitude, &e.latitude, &e.network, &e.eventType, &e.significance, &e.tsunami)
	return e, err
}

// askUpstream stands for the networks' own services, two of which fail now and then: by a rule of the event and the
// attempt, so that every replay sees the same failures.
func askUpstream(e *event, attempt int) error {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %d", e.id, attempt)
	if (e.network == "hv" || e.network == "nn") && h.Sum32()%5 == 0 {
		return fmt.Errorf("ask network %q about event %q: 503 service unavailable", e.network, e.id)
	}
	return nil
}

func locate(ctx context.Context, tx pgx.Tx, replay int64, e *event) (string, error) {
	region := regionOf(e.place)
	_, err := tx.Exec(ctx, "UPDATE quakes.event SET region = $3 WHERE replay = $1 AND id = $2", replay, e.id, region)
	return region, err
}

// regionOf takes the last part of a place: "37km NNE of Amboy, Washington" is in Washington, "South of the Fiji Islands"
// by the Fiji Islands.
func regionOf(place string) string {
	if i := strings.LastIndex(place, ", "); i >= 0 {
		place = place[i+2:]
	} else if i := strings.LastIndex(place, " of "); i >= 0 {
		place = strings.TrimPrefix(place[i+4:], "the ")
	}
	return strings.Replace(place, "CA", "California", 1)
}

func assess(ctx context.Context, tx pgx.Tx, replay int64, e *event) (string, error) {
	alert := alertOf(e)
	_, err := tx.Exec(ctx, "UPDATE quakes.event SET alert = $3 WHERE replay = $1 AND id = $2", replay, e.id, alert)
	return alert, err
}

// alertOf grades an event by the USGS's figure of significance, which runs to about 1,000.
func alertOf(e *event) string {
	switch {
	case e.eventType != "earthquake":
		return "none"
	case e.significance >= 1000 || e.tsunami && e.magnitude != nil && *e.magnitude >= 7:
		return "red"
	default:
		return "green"
	}
}

func index(ctx context.Context, tx pgx.Tx, replay int64, e *event) (string, error) {
	words := strings.FieldsFunc(strings.ToLower(e.place), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
	_, err := tx.Exec(ctx, "SELECT quakes.index($1, $2, $3)", replay, e.id, words)
	return fmt.Sprintf("%d words", len(words)), err
}
