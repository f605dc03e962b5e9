// Package jobstest helps to test code that enqueues jobs.
//
//	func TestSignUp(t *testing.T) {
//		pool := jobstest.DB(t)
//		tx, err := pool.Begin(t.Context())
//		…
//		require.NoError(t, signUp(t.Context(), tx, "ann@example.org"))
//		job := jobstest.RequireInserted(t, tx, WelcomeArgs{}, nil)
//		require.Equal(t, "ann@example.org", job.Args.Address)
//	}
//
// The assertions are River's (package rivertest), bound to Towpath's driver and schema.
package jobstest

import (
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/driver"
)

// Opts are what an inserted job must be like beyond its kind; zero fields match anything. Schema defaults to Towpath's.
type Opts = rivertest.RequireInsertedOpts

// Expected is one of several jobs that must have been inserted.
type Expected = rivertest.ExpectedJob

// DB returns a pool on a migrated database of the test's own. It is dropped when the test ends; every connection must
// have been released by then.
//
// The server is a private one that the test binaries of one `go test` share; it is found or fetched as `towpath dev`
// does and ends with that command. TOWPATH_DATABASE_URL names another one, whose role needs CREATEDB. A test without
// Postgres fails.
func DB(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return testdb.Pool(t)
}

// RequireInserted returns the one job of the kind of T that tx sees, and fails the test when there is none, when there
// are several, or when it is not as opts say. Of expected only the kind counts; opts may be nil.
func RequireInserted[T river.JobArgs](t testing.TB, tx pgx.Tx, expected T, opts *Opts) *river.Job[T] {
	t.Helper()
	return rivertest.RequireInsertedTx[*driver.Driver](t.Context(), t, tx, expected, inSchema(opts))
}

// RequireNotInserted fails the test when tx sees a job of the kind of T that is as opts say. opts may be nil.
func RequireNotInserted[T river.JobArgs](t testing.TB, tx pgx.Tx, expected T, opts *Opts) {
	t.Helper()
	in := inSchema(opts)
	if reflect.DeepEqual(*in, Opts{Schema: in.Schema}) {
		// River's assertion reports the properties that match, so with none but the schema it would find no fault.
		rows, err := (*driver.Driver)(nil).UnwrapExecutor(tx).JobGetByKindMany(t.Context(),
			&riverdriver.JobGetByKindManyParams{Kind: []string{expected.Kind()}, Schema: in.Schema})
		if err != nil || len(rows) > 0 {
			t.Errorf("require that no job of kind %q was inserted: found %d (error: %v)", expected.Kind(), len(rows), err)
			t.FailNow()
		}
		return
	}
	rivertest.RequireNotInsertedTx[*driver.Driver](t.Context(), t, tx, expected, in)
}

// RequireManyInserted fails the test unless tx sees, of the kinds that expected names, exactly these jobs in this order.
// It returns them.
func RequireManyInserted(t testing.TB, tx pgx.Tx, expected []Expected) []*rivertype.JobRow {
	t.Helper()
	asked := make([]Expected, len(expected))
	for i, job := range expected {
		asked[i] = Expected{Args: job.Args, Opts: inSchema(job.Opts)}
	}
	return rivertest.RequireManyInsertedTx[*driver.Driver](t.Context(), t, tx, asked)
}

func inSchema(opts *Opts) *Opts {
	in := Opts{}
	if opts != nil {
		in = *opts
	}
	if in.Schema == "" {
		in.Schema = jobs.Schema
	}
	return &in
}
