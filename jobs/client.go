// Package jobs is the producers' side of Towpath: a River client with defaults for production, checked arguments and a
// way to wait for a job's end.
//
// Everything that River's client can do, this one does, since it embeds it: InsertTx and its siblings, unique jobs,
// priorities, schedules, tags, lists, cancelling, retrying. What is added:
//
//   - Defaults: the schema "towpath", fetching of known kinds only, history of three days (thirty for jobs that failed
//     for good), retries with jitter and a cap, and waking that takes milliseconds.
//   - What breaks a rule is refused before it is sent, in the words of the SQL functions; args that the database could
//     not keep with the path of the bad value. Large args are warned about, then refused.
//   - Client.Await returns a job's end and its output.
//
// A client without Queues only inserts and asks. Working jobs is what package workers is for.
package jobs

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/jobs/driver"
)

// Schema is where Towpath's tables live.
const Schema = "towpath"

// Defaults of a client. Where River has a field for it, the field overrides them.
const (
	// ArgsWarnBytesDefault and ArgsMaxBytesDefault bound the encoded args of a job.
	ArgsWarnBytesDefault = 8 << 10
	ArgsMaxBytesDefault  = 64 << 10

	// CompletedRetentionDefault, CancelledRetentionDefault and DiscardedRetentionDefault say how long finished jobs
	// are kept.
	CompletedRetentionDefault = 3 * 24 * time.Hour
	CancelledRetentionDefault = 3 * 24 * time.Hour
	DiscardedRetentionDefault = 30 * 24 * time.Hour

	// FetchCooldownDefault is the least time between two fetches of a queue from the database.
	//
	// The price of a short one is paid only while jobs arrive one by one, a fetch each; when they arrive faster, or the
	// slots are full, each fetch brings several. River's 100 ms let 100 slots start a thousand jobs a second.
	FetchCooldownDefault = 2 * time.Millisecond

	// FetchPollIntervalDefault is how often an idle process looks for jobs that no notification has announced, which
	// takes a listener that has just lost its connection. With several queues each is polled so many times less often,
	// but every FetchPollIntervalMax at least, so that an idle process with many costs Postgres hardly more.
	FetchPollIntervalDefault = 5 * time.Second
	FetchPollIntervalMax     = 15 * time.Second

	// FetchPollIntervalPollOnlyDefault is the same without notifications, when it is how long a job may wait.
	FetchPollIntervalPollOnlyDefault = time.Second
)

// Config configures a client. The zero value is a client for inserting, with the defaults above.
type Config struct {
	// Config is River's. Of its fields, these have other defaults here: Schema, Logger (slog.Default), RetryPolicy
	// (Backoff), FetchCooldown, FetchPollInterval and the three retention periods, where -1 keeps jobs for ever.
	// FetchOnlyKnownKinds is always on: a job that this process has no worker for waits for one that does.
	//
	// FetchCooldown here is the producers' alone. River would also keep quiet about inserts that follow another into the
	// same queue within that time.
	river.Config

	// ArgsWarnBytes is the size of a job's encoded args above which its insert logs a warning, at most one a minute
	// and kind. Zero: 8 KiB. Negative: never.
	ArgsWarnBytes int

	// ArgsMaxBytes is the size above which an insert is refused with ErrArgsTooLarge. Zero: 64 KiB. Negative: never.
	ArgsMaxBytes int

	// SeparateInserts gives each Insert and InsertMany a commit of its own.
	//
	// Otherwise those that come while the commit of others is under way are committed together by the next one, which is
	// several times faster when many goroutines insert and costs nothing when few do. Each call still gets the results and
	// errors that are its own. Jobs with unique keys, InsertMany of more than a hundred jobs, and inserts inside a
	// transaction of the caller's always go alone, and so do all when there is insert middleware or when the pool has a
	// PrepareConn or BeforeAcquire, which may set a role for each caller.
	SeparateInserts bool

	// Process describes this process to those who look at towpath.process. Its slots are those of Queues unless set.
	Process driver.Process

	// Lead is what else the leader does: each function runs, in a goroutine of its own, while this client leads, and
	// returns soon after its context ends. Two clients may lead for moments, so what they do must bear that.
	Lead []func(ctx context.Context)
}

// River returns River's configuration with Towpath's defaults and checks applied. It is for what makes its own client,
// such as rivertest; NewClient uses it itself.
func (c *Config) River() *river.Config {
	rc := c.Config
	rc.Schema = cmp.Or(rc.Schema, Schema)
	rc.FetchOnlyKnownKinds = true
	if rc.Logger == nil {
		rc.Logger = slog.Default()
	}
	if rc.RetryPolicy == nil {
		rc.RetryPolicy = Backoff{}
	}
	rc.CompletedJobRetentionPeriod = cmp.Or(rc.CompletedJobRetentionPeriod, CompletedRetentionDefault)
	rc.CancelledJobRetentionPeriod = cmp.Or(rc.CancelledJobRetentionPeriod, CancelledRetentionDefault)
	rc.DiscardedJobRetentionPeriod = cmp.Or(rc.DiscardedJobRetentionPeriod, DiscardedRetentionDefault)
	fetchDefaults(&rc)
	if len(rc.JobInsertMiddleware)+len(rc.WorkerMiddleware) == 0 { //nolint:staticcheck // River takes the old fields or the new one, not both
		rc.Middleware = traceInserts(rc.Middleware)
	}
	rc.Hooks = append(slices.Clone(rc.Hooks), newArgsCheck(c.ArgsWarnBytes, c.ArgsMaxBytes, rc.Logger))
	return &rc
}

// fetchDefaults moves the cooldown to the queues and shares the polls among them.
func fetchDefaults(rc *river.Config) {
	cooldown := cmp.Or(rc.FetchCooldown, FetchCooldownDefault)
	// River has one setting for two things; this is the window of its insert notifications.
	rc.FetchCooldown = river.FetchCooldownMin
	if rc.FetchPollInterval == 0 {
		rc.FetchPollInterval = min(FetchPollIntervalDefault*time.Duration(max(len(rc.Queues), 1)), FetchPollIntervalMax)
		if rc.PollOnly {
			rc.FetchPollInterval = FetchPollIntervalPollOnlyDefault
		}
	}
	rc.Queues = maps.Clone(rc.Queues)
	for name, queue := range rc.Queues {
		queue.FetchCooldown = cmp.Or(queue.FetchCooldown, cooldown)
		rc.Queues[name] = queue
	}
}

// Client inserts jobs and asks about them. It is River's client and more.
type Client struct {
	*river.Client[pgx.Tx]
	// sole marks the contexts of inserts on the pool; nil with insert middleware.
	sole      func(context.Context) context.Context
	awaiter   *awaiter
	rules     inputRules
	sqlClient func() (*river.Client[*sql.Tx], error) // made at the first use
}

// NewClient returns a client on the pool. A nil config is the zero one. A nil pool makes a client that works inside
// its callers' transactions only: methods ending in Tx. Errors are River's, about a configuration that does not hold.
func NewClient(pool *pgxpool.Pool, config *Config) (*Client, error) {
	if config == nil {
		config = &Config{}
	}
	process := config.Process
	if process.Slots == nil {
		process.Slots = slots(config.Queues)
	}
	process.NeverLeads = config.LeaderElectionDisabled
	rc := config.River()
	own := driver.NewWithConfig(pool, &driver.Config{
		Process: process, Lead: config.Lead, SeparateInserts: config.SeparateInserts, Cooldown: paced(rc.Queues),
	})
	sqlConfig := *rc
	client, err := river.NewClient(own, rc)
	if err != nil {
		return nil, fmt.Errorf("make a job client: %w", err)
	}
	c := &Client{
		Client:    client,
		rules:     inputRules{anyKind: rc.SkipJobKindValidation, maxAttempts: rc.MaxAttempts}, //nolint:staticcheck // while River has it
		sqlClient: sync.OnceValues(func() (*river.Client[*sql.Tx], error) { return newSQLClient(sqlConfig) }),
	}
	if !hasInsertMiddleware(&config.Config) {
		c.sole = own.Sole
	}
	if pool != nil {
		c.awaiter = newAwaiter(pool, own.GetExecutor(), client.Schema())
	}
	return c, nil
}

// paced takes the cooldowns from River and returns them: jobs that were fetched ahead begin without one.
func paced(queues map[string]river.QueueConfig) map[string]time.Duration {
	cooldowns := make(map[string]time.Duration, len(queues))
	for name, queue := range queues {
		cooldowns[name] = queue.FetchCooldown
		queue.FetchCooldown = river.FetchCooldownMin
		queues[name] = queue
	}
	return cooldowns
}

func slots(queues map[string]river.QueueConfig) map[string]int {
	n := make(map[string]int, len(queues))
	for name, queue := range queues {
		n[name] = queue.MaxWorkers
	}
	return n
}
