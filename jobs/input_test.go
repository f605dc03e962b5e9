package jobs_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/badinput"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
)

// givenArgs are args of any kind and of any JSON.
type givenArgs struct {
	kind string
	json string
}

func (a givenArgs) Kind() string                 { return a.kind }
func (a givenArgs) MarshalJSON() ([]byte, error) { return []byte(a.json), nil }

// inGo says with River's options what a case says with the parameters of towpath.enqueue.
func inGo(t *testing.T, job map[string]any) (givenArgs, *river.InsertOpts) {
	t.Helper()
	encoded, err := json.Marshal(job)
	require.NoError(t, err)
	var given struct {
		Kind              string               `json:"kind"`
		Args              json.RawMessage      `json:"args"`
		Queue             string               `json:"queue"`
		Priority          int                  `json:"priority"`
		ScheduledAt       string               `json:"scheduled_at"`
		MaxAttempts       int                  `json:"max_attempts"`
		Tags              []string             `json:"tags"`
		Metadata          json.RawMessage      `json:"metadata"`
		UniqueByArgs      bool                 `json:"unique_by_args"`
		UniquePeriod      string               `json:"unique_period"`
		UniqueStates      []rivertype.JobState `json:"unique_states"`
		UniqueExcludeKind bool                 `json:"unique_exclude_kind"`
	}
	require.NoError(t, json.Unmarshal(encoded, &given))
	opts := &river.InsertOpts{
		Queue: given.Queue, Priority: given.Priority, MaxAttempts: given.MaxAttempts, Tags: given.Tags, Metadata: given.Metadata,
		UniqueOpts: river.UniqueOpts{ByArgs: given.UniqueByArgs, ByState: given.UniqueStates, ExcludeKind: given.UniqueExcludeKind},
	}
	if given.ScheduledAt != "" {
		year := map[string]int{"1905-06-07 08:09:10+02": 1905, "20000-01-01 00:00:00+00": 20000}[given.ScheduledAt]
		require.NotZero(t, year, given.ScheduledAt)
		opts.ScheduledAt = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		if year == 1905 {
			opts.ScheduledAt = time.Date(year, 6, 7, 8, 9, 10, 0, time.FixedZone("", 2*60*60))
		}
	}
	if given.UniquePeriod != "" {
		opts.UniqueOpts.ByPeriod = map[string]time.Duration{"500 milliseconds": 500 * time.Millisecond, "-1 hour": -time.Hour}[given.UniquePeriod]
		require.NotZero(t, opts.UniqueOpts.ByPeriod, given.UniquePeriod)
	}
	if len(given.Args) == 0 {
		given.Args = []byte("{}")
	}
	return givenArgs{given.Kind, string(given.Args)}, opts
}

// What the database refuses, every insert of a client refuses in the same words and with the same code, and nothing is
// sent.
func TestInputErrorsAreThoseOfSQL(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := jobstest.DB(t)
	client := newClient(t, pool, nil, nil)
	db, err := sql.Open("pgx", pool.Config().ConnString())
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	sqlTx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer func() { _ = sqlTx.Rollback() }()

	refuse := func(t *testing.T, args river.JobArgs, opts *river.InsertOpts, check func(name string, err error)) {
		t.Helper()
		many := []river.InsertManyParams{{Args: noteArgs{}}, {Args: args, InsertOpts: opts}}
		_, err := client.Insert(ctx, args, opts)
		check("Insert", err)
		_, err = client.InsertTx(ctx, tx, args, opts)
		check("InsertTx", err)
		_, err = client.InsertMany(ctx, many)
		check("InsertMany", err)
		_, err = client.InsertManyTx(ctx, tx, many)
		check("InsertManyTx", err)
		_, err = client.InsertManyFast(ctx, many)
		check("InsertManyFast", err)
		_, err = client.InsertManyFastTx(ctx, tx, many)
		check("InsertManyFastTx", err)
		_, err = client.InsertSQLTx(ctx, sqlTx, args, opts)
		check("InsertSQLTx", err)
		_, err = client.InsertManySQLTx(ctx, sqlTx, many)
		check("InsertManySQLTx", err)
	}
	for _, test := range badinput.Cases {
		if test.NotInGo != "" {
			continue
		}
		t.Run(test.Name, func(t *testing.T) {
			job := map[string]any{"kind": "mail.send"}
			maps.Copy(job, test.Job)
			args, opts := inGo(t, job)
			refuse(t, args, opts, func(name string, err error) {
				var refusal *jobs.InputError
				require.ErrorAs(t, err, &refusal, name)
				require.Equal(t, test.Message, refusal.Message, name)
				require.ErrorContains(t, err, test.Message, name)
				require.Equal(t, test.Parameter, refusal.Parameter, name)
				require.Equal(t, args.kind, refusal.Kind, name)
				require.Equal(t, test.SQLState(), refusal.SQLState(), name)
				require.NotEmpty(t, refusal.Hint, name)
				if test.Hint != "" {
					require.Equal(t, test.Hint, refusal.Hint, name)
				}
			})
		})
	}
	t.Run("NoJSON", func(t *testing.T) {
		refuse(t, givenArgs{"mail.send", `{"customer": 42`}, nil, func(name string, err error) {
			var refusal *jobs.InputError
			require.ErrorAs(t, err, &refusal, name)
			require.Equal(t, badinput.NoJSON, refusal.Message, name)
			require.Equal(t, "22P02", refusal.SQLState(), name)
		})
	})
	t.Run("TooMany", func(t *testing.T) {
		many := make([]river.InsertManyParams, 100_000)
		for name, insert := range map[string]func() error{
			"InsertMany":      func() error { _, err := client.InsertMany(ctx, many); return err },
			"InsertManyTx":    func() error { _, err := client.InsertManyTx(ctx, tx, many); return err },
			"InsertManySQLTx": func() error { _, err := client.InsertManySQLTx(ctx, sqlTx, many); return err },
		} {
			err := insert()
			require.EqualError(t, err, badinput.TooMany, name)
			var refusal *jobs.InputError
			require.ErrorAs(t, err, &refusal, name)
			require.Equal(t, "22023", refusal.SQLState(), name)
		}
	})
	// The refusals came before anything was sent, so both transactions are as good as new.
	_, err = client.InsertTx(ctx, tx, noteArgs{}, nil)
	require.NoError(t, err)
	_, err = client.InsertSQLTx(ctx, sqlTx, noteArgs{}, nil)
	require.NoError(t, err)
}

// What a job's type says about itself is held to the rules as well.
func TestInputErrorsOfOwnOptions(t *testing.T) {
	t.Parallel()
	client := newClient(t, jobstest.DB(t), nil, nil)
	_, err := client.Insert(t.Context(), optionedArgs{river.InsertOpts{Priority: 9}}, nil)
	require.ErrorContains(t, err, `insert job "optioned": priority 9 must be from 1 to 4`)
	_, err = client.Insert(t.Context(), optionedArgs{river.InsertOpts{Priority: 9}}, &river.InsertOpts{Priority: 2})
	require.NoError(t, err)

	// River lets those who have such kinds keep them.
	lenient := newClient(t, jobstest.DB(t), &jobs.Config{Config: river.Config{SkipJobKindValidation: true}}, nil) //nolint:staticcheck // while River has it
	insert(t, lenient, givenArgs{"mail send", "{}"}, nil)
}

type optionedArgs struct{ opts river.InsertOpts }

func (optionedArgs) Kind() string                   { return "optioned" }
func (a optionedArgs) InsertOpts() river.InsertOpts { return a.opts }
func (optionedArgs) MarshalJSON() ([]byte, error)   { return []byte("{}"), nil }

// A producer may not read, from Go as little as from SQL.
func TestProducersDoNotRead(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	producer := testdb.As(t, pool, "towpath_producer")
	client := newClient(t, producer, nil, nil)
	var refusal *pgconn.PgError

	_, err := client.JobGet(t.Context(), 1)
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "42501", refusal.Code)
	require.Equal(t, "permission denied for table river_job", refusal.Message)
	_, err = producer.Exec(t.Context(), `SELECT * FROM towpath.river_job`)
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "permission denied for table river_job", refusal.Message)
}
