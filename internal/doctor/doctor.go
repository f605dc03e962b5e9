// Package doctor looks at a database and the fleet that works on it, and says what is wrong, where, and what mends it.
//
// # Contract
//
//   - It changes nothing: every look is a read, but for one notification to itself, and each has a time limit. Mends are
//     told, never applied.
//   - A check is silent on a healthy database. What it finds is a Finding with a severity: Fault (something does not
//     work), Warning (it will not go well for long) or Note (worth knowing; such a database is healthy).
//   - A plain owner of the database is enough. A check that may not look for lack of rights is told as Skipped, and all of
//     these together are one Warning of the check "rights", with the grant that opens them: a doctor that was not let in
//     must not pass for one that found nothing. A check that looked and did not see everything is told as Skipped alone.
//   - The schema is compared with what this program's migrations make, which was read off a migrated database when the
//     program was made: expected.jsonl, kept true by a test.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/migrate"
)

// A Severity says how bad a finding is.
type Severity string

// The severities, the worst first.
const (
	Fault   Severity = "fault"   // something does not work
	Warning Severity = "warning" // it works, and will not for long or not under load
	Note    Severity = "note"    // worth knowing; nothing is wrong
)

// A Finding is one thing that is not as it should be. Its JSON form is an interface of `towpath doctor --json`.
type Finding struct {
	Check    string   `json:"check" about:"the check that found it"`
	Severity Severity `json:"severity" about:"fault, warning, or note, which does not count for the exit code"`
	What     string   `json:"what" about:"what is wrong, in words"`
	Where    string   `json:"where" about:"the object, the process or the setting"`
	Mend     string   `json:"mend" about:"what to do about it: a command or SQL"`
	SQL      bool     `json:"sql" about:"whether mend is SQL that brings our own objects back, and nothing else"`
}

// Skipped is a check that could not look, or not everywhere.
type Skipped struct {
	Check  string `json:"check" about:"the check that could not look, or not everywhere"`
	Reason string `json:"reason" about:"why"`
	Mend   string `json:"mend" about:"what would let it look; empty when nothing would"`
}

// Report is what Examine has to say.
type Report struct {
	Findings []Finding `json:"findings"` // the worst first
	Skipped  []Skipped `json:"skipped"`
	Checks   []string  `json:"checks"` // what was looked at
	Of       int       `json:"of"`     // how many checks there are
}

// Healthy reports whether there is nothing but notes.
func (r *Report) Healthy() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity != Note })
}

// Options say what counts as wrong. Zero values mean the defaults.
type Options struct {
	Program string // how commands in mends begin; "towpath"

	OldTransaction time.Duration // a transaction open for longer is old: 5 minutes
	ClockLimit     time.Duration // clocks further apart are wrong: 2 seconds
	DeadRows       int64         // a hot table with more dead rows than this and than live ones: 100,000
	QueueUsage     float64       // a notification queue fuller than this: 0.1
	LockUsage      float64       // a look-up that takes a larger part of the server's locks than this: 0.1

	NotifyOff bool // this program was told not to LISTEN

	Now func() time.Time // this host's clock
}

func (o *Options) fill() {
	if o.Program == "" {
		o.Program = "towpath"
	}
	if o.OldTransaction == 0 {
		o.OldTransaction = 5 * time.Minute
	}
	if o.ClockLimit == 0 {
		o.ClockLimit = 2 * time.Second
	}
	if o.DeadRows == 0 {
		o.DeadRows = 100_000
	}
	if o.QueueUsage == 0 {
		o.QueueUsage = 0.1
	}
	if o.LockUsage == 0 {
		o.LockUsage = 0.1
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// checkLimit bounds one check.
const checkLimit = 20 * time.Second

// check is one topic.
type check struct {
	name       string
	needSchema bool // it reads tables of the schema as this program knows them
	look       func(ctx context.Context, e *examination) error
}

// checks are all of them, in the order in which they look.
var checks = []check{
	{"versions", false, lookAtVersions},
	{"schema", true, lookAtSchema},
	{"constraints", true, lookAtConstraints},
	{"partitions", true, lookAtPartitions},
	{"grants", true, lookAtGrants},
	{"names", true, lookAtNames},
	{"fleet", true, lookAtFleet},
	{"clocks", true, lookAtClocks},
	{"transactions", false, lookAtTransactions},
	{"slots", false, lookAtSlots},
	{"keepalives", false, lookAtKeepalives},
	{"connections", true, lookAtConnections},
	{"vacuum", true, lookAtVacuum},
	{"notify", false, lookAtNotify},
}

// examination is one run of all checks.
type examination struct {
	pool     *pgxpool.Pool
	migrator *migrate.Migrator
	options  Options
	report   *Report
	check    string // that is looking
	schema   migrate.CheckResult
	exists   bool     // the schema has tables
	asker    asker    // who we are
	refused  []string // the checks that were not made for lack of rights
	reasons  []string // what the server said to that
}

// Examine runs all checks. An error means that the database could not be asked at all.
func Examine(ctx context.Context, pool *pgxpool.Pool, migrator *migrate.Migrator, options Options) (*Report, error) {
	options.fill()
	e := &examination{
		pool: pool, migrator: migrator, options: options,
		report: &Report{Findings: []Finding{}, Skipped: []Skipped{}, Checks: []string{}, Of: len(checks)},
	}
	if err := pool.Ping(ctx); err != nil {
		return nil, fmt.Errorf("reach the database: %w", err)
	}
	if err := e.introduce(ctx); err != nil {
		return nil, err
	}
	for _, c := range checks {
		e.check = c.name
		if c.needSchema && !e.exists {
			e.skipWithoutSchema()
			continue
		}
		if err := e.run(ctx, c); err != nil {
			return nil, err
		}
	}
	e.findRefusals()
	rank := map[Severity]int{Fault: 0, Warning: 1, Note: 2}
	slices.SortStableFunc(e.report.Findings, func(a, b Finding) int { return rank[a.Severity] - rank[b.Severity] })
	return e.report, nil
}

// run lets one check look. What it lacks the right to see is told; anything else that keeps it from looking is a fault.
func (e *examination) run(ctx context.Context, c check) error {
	limited, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	err := c.look(limited, e)
	var refused *pgconn.PgError
	switch {
	case err == nil:
		e.report.Checks = append(e.report.Checks, c.name)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refused) && refused.Code == "42501":
		e.refuse(refused.Message)
	default:
		e.find(Fault, "the check could not be made: "+err.Error(), "database", "see to the error, and run it again")
	}
	return nil
}

// find notes a finding of the check that is looking.
func (e *examination) find(severity Severity, what, where, mend string) {
	e.report.Findings = append(e.report.Findings, Finding{Check: e.check, Severity: severity, What: what, Where: where, Mend: mend})
}

// skip notes what the check that is looking could not see.
func (e *examination) skip(reason, mend string) {
	e.report.Skipped = append(e.report.Skipped, Skipped{Check: e.check, Reason: reason, Mend: mend})
}

// command is a command of this program, for a mend.
func (e *examination) command(arguments string) string { return e.options.Program + " " + arguments }

// query collects the rows of a statement into structs by position.
func query[T any](ctx context.Context, e *examination, sql string, args ...any) ([]T, error) {
	rows, err := e.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

// most is how many findings of one kind are told apart; what is beyond is counted.
const most = 20
