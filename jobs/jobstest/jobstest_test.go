package jobstest_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
)

type mailArgs struct {
	To string `json:"to"`
}

func (mailArgs) Kind() string { return "jobstest_mail" }

type otherArgs struct{}

func (otherArgs) Kind() string { return "jobstest_other" }

// fakeT notes a failure instead of failing.
type fakeT struct {
	testing.TB
	failure string
}

func (t *fakeT) Helper()                        {}
func (t *fakeT) FailNow()                       { panic(t) }
func (t *fakeT) Log(args ...any)                { t.failure += fmt.Sprint(args...) }
func (t *fakeT) Logf(format string, a ...any)   { t.failure += fmt.Sprintf(format, a...) }
func (t *fakeT) Errorf(format string, a ...any) { t.failure += fmt.Sprintf(format, a...) }

// failure runs an assertion and returns how it failed, or nothing.
func failure(t *testing.T, assert func(t testing.TB)) string {
	t.Helper()
	fake := &fakeT{TB: t}
	func() {
		defer func() {
			if thrown := recover(); thrown != nil && thrown != any(fake) {
				panic(thrown)
			}
		}()
		assert(fake)
	}()
	return fake.failure
}

func insert(t *testing.T, tx pgx.Tx, args river.JobArgs, opts *river.InsertOpts) {
	t.Helper()
	client, err := jobs.NewClient(nil, nil)
	require.NoError(t, err)
	_, err = client.InsertTx(t.Context(), tx, args, opts)
	require.NoError(t, err)
}

func TestDBIsMigratedAndPrivate(t *testing.T) {
	t.Parallel()
	one, two := jobstest.DB(t), jobstest.DB(t)
	client, err := jobs.NewClient(one, nil)
	require.NoError(t, err)
	_, err = client.Insert(t.Context(), mailArgs{}, nil)
	require.NoError(t, err)
	var n int
	require.NoError(t, two.QueryRow(t.Context(), `SELECT count(*) FROM towpath.river_job`).Scan(&n))
	require.Zero(t, n)
}

func TestRequireInserted(t *testing.T) {
	tx := testdb.Tx(t)
	require.Contains(t, failure(t, func(t testing.TB) { jobstest.RequireInserted(t, tx, mailArgs{}, nil) }), "jobstest_mail")
	insert(t, tx, mailArgs{To: "ann"}, &river.InsertOpts{Queue: "mail"})
	require.Equal(t, "ann", jobstest.RequireInserted(t, tx, mailArgs{}, nil).Args.To)
	jobstest.RequireInserted(t, tx, mailArgs{}, &jobstest.Opts{Queue: "mail"})
	require.NotEmpty(t, failure(t, func(t testing.TB) {
		jobstest.RequireInserted(t, tx, mailArgs{}, &jobstest.Opts{Queue: "other"})
	}))
	insert(t, tx, mailArgs{}, nil)
	require.NotEmpty(t, failure(t, func(t testing.TB) { jobstest.RequireInserted(t, tx, mailArgs{}, nil) }))
}

func TestRequireNotInserted(t *testing.T) {
	tx := testdb.Tx(t)
	insert(t, tx, mailArgs{}, &river.InsertOpts{Priority: 2})
	jobstest.RequireNotInserted(t, tx, otherArgs{}, nil)
	jobstest.RequireNotInserted(t, tx, mailArgs{}, &jobstest.Opts{Priority: 3})
	require.NotEmpty(t, failure(t, func(t testing.TB) { jobstest.RequireNotInserted(t, tx, mailArgs{}, nil) }))
}

func TestRequireManyInserted(t *testing.T) {
	tx := testdb.Tx(t)
	insert(t, tx, mailArgs{To: "ann"}, nil)
	insert(t, tx, otherArgs{}, &river.InsertOpts{Priority: 4})
	insert(t, tx, mailArgs{To: "bob"}, nil)
	rows := jobstest.RequireManyInserted(t, tx, []jobstest.Expected{
		{Args: mailArgs{}}, {Args: otherArgs{}, Opts: &jobstest.Opts{Priority: 4}}, {Args: mailArgs{}},
	})
	require.Len(t, rows, 3)
	require.JSONEq(t, `{"to": "bob"}`, string(rows[2].EncodedArgs))
	require.NotEmpty(t, failure(t, func(t testing.TB) {
		jobstest.RequireManyInserted(t, tx, []jobstest.Expected{{Args: mailArgs{}}})
	}))
}
