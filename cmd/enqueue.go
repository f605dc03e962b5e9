package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// enqueuedView is what became of a job that was enqueued.
type enqueuedView struct {
	ID      int64  `json:"id" about:"the job; of one that was skipped, the equal one that is there"`
	State   string `json:"state" about:"available or scheduled; of one that was skipped, the state of the other"`
	Skipped bool   `json:"skipped" about:"whether an equal unique job was there"`
}

// enqueueFlags are the flags of `enqueue`; those of a job are the parameters of towpath.enqueue.
type enqueueFlags struct {
	job                              store.EnqueueParams
	priority, maxAttempts            int32
	queue, at, key, period, metadata string
	many                             string
}

func (p *Program) enqueueCommand() *cobra.Command {
	var flags enqueueFlags
	c := &cobra.Command{
		Use:   "enqueue KIND [ARGS]",
		Short: "Enqueue a job, or many from a file",
		Long: "Enqueue a job: its kind and its args, a JSON object. With - as args they are read from the input. The flags are the\n" +
			"parameters of the SQL function towpath.enqueue, which says what is refused and why.\n\n" +
			"With --many FILE, each line of the file (- for the input) is one job, a JSON object with the same names: kind, args,\n" +
			"queue and so on. All are enqueued in one transaction, or none.",
		Example: "  towpath enqueue mail.send '{\"customer\": 42}' --queue mail --priority 2\n" +
			"  echo '{\"customer\": 43}' | towpath enqueue mail.send - --scheduled-at '2030-01-01 06:00+00' --quiet\n" +
			"  towpath enqueue report.daily --unique-key 2026-01-02 --unique-period '1 day' --json\n" +
			"  printf '{\"kind\": \"mail.send\", \"args\": {\"n\": %d}}\\n' 1 2 3 | towpath enqueue --many -",
		Args: func(c *cobra.Command, args []string) error {
			if flags.many != "" {
				return cobra.NoArgs(c, args)
			}
			return cobra.RangeArgs(1, 2)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if flags.many != "" {
				return p.enqueueMany(c, flags.many)
			}
			return p.enqueueOne(c, flags, args)
		},
	}
	flags.addTo(c)
	p.complete(c, "queue", queueNames)
	p.completeArg(c, kindNames)
	p.quietFlag(c, "print the id alone")
	p.returns(c, enqueuedView{})
	return p.needs(c, roleProducer)
}

func (f *enqueueFlags) addTo(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.queue, "queue", "default", "the queue it waits in")
	flags.Int32Var(&f.priority, "priority", 1, "from 1, fetched first, to 4")
	flags.StringVar(&f.at, "scheduled-at", "", "not to start before, as Postgres reads times: '2030-01-01 06:00+00', tomorrow")
	flags.Int32Var(&f.maxAttempts, "max-attempts", 25, "after so many failed attempts it is discarded")
	flags.StringArrayVar(&f.job.Tags, "tag", nil, "a word to filter by; again for more")
	flags.StringVar(&f.metadata, "metadata", "", "a JSON object for things beside the args")
	flags.StringVar(&f.key, "unique-key", "", "at most one job of the kind with this key")
	flags.BoolVar(&f.job.UniqueByArgs, "unique-by-args", false, "at most one job of the kind with these args")
	flags.StringSliceVar(&f.job.UniqueArgs, "unique-args", nil, "at most one with these fields of the args, as in customer,order.id")
	flags.StringVar(&f.period, "unique-period", "", "at most one in this time, as Postgres reads intervals: '1 hour'")
	flags.BoolVar(&f.job.UniqueQueue, "unique-queue", false, "at most one in its queue")
	flags.StringSliceVar(&f.job.UniqueStates, "unique-states", nil, "the states in which the key is held")
	flags.BoolVar(&f.job.UniqueExcludeKind, "unique-exclude-kind", false, "unique among all kinds")
	flags.StringVar(&f.many, "many", "", "a file with one job a line; - for the input")
}

// given makes the flags that were given parameters, and leaves the others to the function's own defaults.
func (f *enqueueFlags) given(c *cobra.Command) {
	text := map[string]struct {
		from *string
		to   **string
	}{
		"queue": {&f.queue, &f.job.Queue}, "scheduled-at": {&f.at, &f.job.ScheduledAt}, "metadata": {&f.metadata, &f.job.Metadata},
		"unique-key": {&f.key, &f.job.UniqueKey}, "unique-period": {&f.period, &f.job.UniquePeriod},
	}
	for name, flag := range text {
		if c.Flags().Changed(name) {
			*flag.to = flag.from
		}
	}
	if c.Flags().Changed("priority") {
		f.job.Priority = &f.priority
	}
	if c.Flags().Changed("max-attempts") {
		f.job.MaxAttempts = &f.maxAttempts
	}
}

func (p *Program) enqueueOne(c *cobra.Command, flags enqueueFlags, args []string) error {
	flags.given(c)
	flags.job.Kind, flags.job.Args = args[0], "{}"
	fromInput := len(args) == 2 && args[1] == "-"
	switch {
	case fromInput:
		text, err := io.ReadAll(p.stdin)
		if err != nil {
			return fmt.Errorf("read the args: %w", err)
		}
		flags.job.Args = string(text)
	case len(args) == 2:
		flags.job.Args = args[1]
	}
	if strings.ContainsRune(flags.job.Kind+flags.job.Args, 0) {
		return usagef("kind and args must hold no NUL, which Postgres cannot store")
	}
	pool, err := p.Database(c.Context())
	if err != nil {
		return err
	}
	row, err := store.EnqueueJob(c.Context(), pool, flags.job)
	if err != nil {
		return p.refused(err)
	}
	view := enqueuedView(row)
	switch {
	case p.json:
		return p.printJSON(view)
	case p.quiet:
		fmt.Fprintln(p.stdout, view.ID)
	case view.Skipped:
		fmt.Fprintf(p.stdout, "Job %d is there already: it is equal, and %s.\n", view.ID, view.State)
	default:
		fmt.Fprintf(p.stdout, "Job %d is %s.\n", view.ID, view.State)
	}
	return nil
}

// refused makes what the function says of a job's values an error of usage: they come from the command line.
func (p *Program) refused(err error) error {
	explained := p.explain(err, roleProducer)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(pgErr.Code, "22") {
		return UsageError(explained)
	}
	return explained
}

// enqueueChunk sends a part of many jobs.
func enqueueChunk(ctx context.Context, db store.DB, jobs []string) ([]enqueuedView, error) {
	rows, err := store.EnqueueJobs(ctx, db, "["+strings.Join(jobs, ",")+"]")
	if err != nil {
		return nil, err
	}
	views := make([]enqueuedView, len(rows))
	for i, row := range rows {
		views[i] = enqueuedView(row)
	}
	return views, nil
}
