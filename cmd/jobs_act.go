package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// actBatch is how many jobs are acted on in one transaction, and fewPerJob up to how many are told one by one.
const (
	actBatch  = 500
	fewPerJob = 20
)

// jobVerb is one of retry, cancel and delete.
type jobVerb struct {
	action     store.JobAction
	done       string   // what a job was that it was done to
	wanted     []string // the states that are as good as done
	states     []string // what is meant unless --state says otherwise
	short, how string
}

var (
	retrying = jobVerb{
		action: store.RetryJob, done: "retried", wanted: []string{"available"}, states: []string{"discarded", "retryable"},
		short: "Make jobs available now, finished ones too",
		how: "Make jobs available now: those that wait for their next attempt, that are scheduled, or that have finished. A\n" +
			"finished job comes back under its id, with one more attempt if it had used them up. By a filter, the failed ones\n" +
			"are meant (discarded and retryable) unless --state says otherwise.",
	}
	cancelling = jobVerb{
		action: store.CancelJob, done: "cancelled", wanted: []string{"cancelled"},
		states: []string{"available", "pending", "retryable", "running", "scheduled"},
		short:  "Cancel jobs; running ones are told to stop",
		how: "Cancel jobs. One that waits is cancelled at once. One that runs is told to stop, and ends cancelled unless it\n" +
			"succeeds all the same. By a filter, all unfinished ones are meant unless --state says otherwise.",
	}
	deleting = jobVerb{
		action: store.DeleteJob, done: "deleted", states: []string{"cancelled", "completed", "discarded"},
		short: "Delete jobs with what they logged; running ones stay",
		how: "Delete jobs with what they logged. Running jobs stay: cancel them first. By a filter, the finished ones are meant\n" +
			"unless --state says otherwise.",
	}
)

// jobNumber is how a note names another job.
var jobNumber = regexp.MustCompile(`\bjob \d+`)

// outcomeView is what became of one job, as --json prints it.
type outcomeView struct {
	ID     int64  `json:"id" about:"the job"`
	State  string `json:"state" about:"its state afterwards; of a deleted job, before; empty if there is none"`
	Result string `json:"result" about:"retried, cancelled or deleted; unchanged: it was so already; failed: it could not be done"`
	Note   string `json:"note" about:"what it was before, or why it could not be done"`
}

// outcomePage is the result of a command that acts on jobs.
type outcomePage struct {
	Matched int           `json:"matched" about:"how many jobs were meant"`
	Changed int           `json:"changed" about:"how many it was done to"`
	Failed  int           `json:"failed" about:"how many it could not be done to"`
	More    bool          `json:"more" about:"whether --limit left some out"`
	Jobs    []outcomeView `json:"jobs" about:"one a job"`
	Notices []string      `json:"notices" about:"what limits the answer: a window of time, or that not all jobs were looked at"`
}

func (p *Program) jobsAct(verb jobVerb) *cobra.Command {
	var filter jobFilter
	var yes bool
	var limit int
	name := string(verb.action)
	c := &cobra.Command{
		Use:   name + " [ID...]",
		Short: verb.short,
		Long: verb.how + "\n\nWith a filter instead of ids, the jobs are counted first; then it asks, or --yes goes on. Only those that\n" +
			"the filter still means when their turn comes are touched. - reads ids from the input. The exit code is 1 when\n" +
			"something could not be done. Every action is written down in towpath.audit.",
		Example: fmt.Sprintf("  towpath jobs %[1]s 4713\n  towpath jobs %[1]s --kind mail.send --arg customer=42 --yes\n"+
			"  towpath jobs list --tag vip --quiet | towpath jobs %[1]s - --json", name),
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && filter.given() {
				return usagef("%s takes ids or a filter, not both", c.CommandPath())
			}
			if len(args) > 0 {
				return p.actOnIDs(c.Context(), verb, args)
			}
			if !filter.given() {
				return usagef("%s needs ids, or a filter such as --state, --kind or --error; see `%s --help`", c.CommandPath(), c.CommandPath())
			}
			if limit < 1 {
				return usagef("--limit %d: give a number from 1", limit)
			}
			return p.actOnFilter(c.Context(), verb, &filter, limit, yes)
		},
	}
	filter.addTo(c)
	p.completeFilter(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().IntVar(&limit, "limit", mostJobs, "at most so many jobs of a filter")
	p.quietFlag(c, "print the ids of the jobs that it was done to, nothing else")
	p.returns(c, outcomePage{})
	return p.needs(c, roleOperator)
}

// actOnIDs acts on single jobs.
func (p *Program) actOnIDs(ctx context.Context, verb jobVerb, args []string) error {
	ids, err := p.readIDs(args)
	if err != nil {
		return err
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	page := outcomePage{Matched: len(ids), Notices: []string{}}
	for _, id := range ids {
		outcome, err := store.ActOnJob(ctx, pool, verb.action, id)
		if answer, refused := errors.AsType[*pgconn.PgError](p.explain(err, roleOperator)); refused && isRefusal(answer) {
			text, _ := errors.AsType[*answerError](p.explain(err, roleOperator))
			page.add(outcomeView{ID: id, Result: "failed", Note: text.Error()})
			continue
		}
		if err != nil {
			return err
		}
		page.add(verb.view(outcome))
	}
	return p.printOutcomes(verb, page)
}

// isRefusal reports whether a function refused one job, and not everything that is asked.
func isRefusal(err *pgconn.PgError) bool {
	switch err.Code {
	case "P0002", "55006", "23505":
		return true
	}
	return false
}

// readIDs parses ids; - stands for those that the input holds. An id that is given again is the same job: it counts once.
func (p *Program) readIDs(args []string) ([]int64, error) {
	var ids []int64
	seen := map[int64]bool{}
	for _, arg := range args {
		words := []string{arg}
		if arg == "-" {
			words = words[:0]
			scanner := bufio.NewScanner(p.stdin)
			scanner.Split(bufio.ScanWords)
			for scanner.Scan() {
				words = append(words, scanner.Text())
			}
			if err := scanner.Err(); err != nil {
				return nil, fmt.Errorf("read ids: %w", err)
			}
		}
		for _, word := range words {
			id, err := p.parseID(word)
			if err != nil {
				return nil, err
			}
			if !seen[id] {
				ids, seen[id] = append(ids, id), true
			}
		}
	}
	return ids, nil
}

// actOnFilter counts what a filter means, asks, and acts on just those jobs.
func (p *Program) actOnFilter(ctx context.Context, verb jobVerb, flags *jobFilter, limit int, yes bool) error {
	if len(flags.states) == 0 {
		flags.states = verb.states
	}
	filter, err := flags.filter()
	if err != nil {
		return err
	}
	ids, page, err := p.count(ctx, flags, filter, limit)
	if err != nil {
		return err
	}
	if !p.json {
		for _, notice := range page.Notices {
			p.note("%s", notice)
		}
	}
	if len(ids) == 0 {
		if hint := flags.numberHint(); hint != "" && !p.json {
			p.note("%s", hint)
		}
		return p.printOutcomes(verb, page)
	}
	if err := p.confirm(ctx, verb, page, yes); err != nil {
		return err
	}
	if err := p.actInBatches(ctx, verb, filter, ids, &page); err != nil {
		return errors.Join(err, p.printOutcomes(verb, page))
	}
	return p.printOutcomes(verb, page)
}

// count finds what a filter means, up to limit.
func (p *Program) count(ctx context.Context, flags *jobFilter, filter store.JobFilter, limit int) ([]int64, outcomePage, error) {
	conn, notices, err := p.noticing(ctx)
	if err != nil {
		return nil, outcomePage{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var ids []int64
	var after *store.JobCursor
	for {
		want := min(limit+1-len(ids), mostJobs)
		found, err := store.FindJobs(ctx, conn, filter, after, want)
		if err != nil {
			return nil, outcomePage{}, err
		}
		for _, job := range found {
			ids = append(ids, job.ID)
		}
		if len(found) < want || len(ids) > limit {
			break
		}
		last := found[len(found)-1]
		after = &store.JobCursor{ID: last.ID}
		if final(last.State) {
			after.Finished = &last.At
		}
	}
	page := outcomePage{Notices: notices(), More: len(ids) > limit}
	if window := flags.window(filter); window != "" {
		page.Notices = append(page.Notices, window)
	}
	ids = ids[:min(len(ids), limit)]
	page.Matched = len(ids)
	return ids, page, nil
}

// jobCount says how many jobs.
func jobCount(n int) string {
	if n == 1 {
		return "1 job"
	}
	return strconv.Itoa(n) + " jobs"
}

// confirm asks whether to go on, unless that was said.
func (p *Program) confirm(ctx context.Context, verb jobVerb, page outcomePage, yes bool) error {
	what := jobCount(page.Matched)
	if page.More {
		what = "the first " + what + " (there are more)"
	}
	if yes {
		return nil
	}
	if !isTerminal(p.stdin) {
		return usagef("the filter means %s; add --yes to %s them", what, verb.action)
	}
	fmt.Fprintf(p.stderr, "%s %s? [y/N] ", strings.ToUpper(string(verb.action)[:1])+string(verb.action)[1:], what)
	answers := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(p.stdin).ReadString('\n') // what cannot be read is no yes
		answers <- answer
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case answer := <-answers:
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		}
		return errors.New("nothing was done")
	}
}

// actInBatches acts on jobs that were found, each batch in a transaction of its own.
func (p *Program) actInBatches(ctx context.Context, verb jobVerb, filter store.JobFilter, ids []int64, page *outcomePage) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	var done atomic.Int64
	act := func(ctx context.Context) error {
		for len(ids) > 0 {
			batch := ids[:min(actBatch, len(ids))]
			ids = ids[len(batch):]
			outcomes, err := store.ActOnJobs(ctx, pool, verb.action, filter, batch)
			if err != nil {
				return err
			}
			byID := make(map[int64]store.JobOutcome, len(outcomes))
			for _, outcome := range outcomes {
				byID[outcome.ID] = outcome
			}
			for _, id := range batch {
				if outcome, there := byID[id]; there {
					page.add(verb.view(outcome))
				} else {
					page.add(outcomeView{ID: id, Result: "failed", Note: "the filter does not mean it any more, or somebody else is at it"})
				}
			}
			done.Add(int64(len(batch)))
		}
		return nil
	}
	if len(ids) <= actBatch {
		return act(ctx)
	}
	total := len(ids)
	return p.Progress(ctx, func(context.Context) ([]Amount, error) {
		return []Amount{{Name: verb.done, Done: int(done.Load()), Total: total}}, nil
	}, act)
}

// view tells what became of a job.
func (v jobVerb) view(outcome store.JobOutcome) outcomeView {
	view := outcomeView{ID: outcome.ID, State: outcome.State, Result: v.done, Note: outcome.Note}
	if outcome.Changed {
		return view
	}
	view.Result = "failed"
	if slices.Contains(v.wanted, outcome.State) {
		view.Result = "unchanged"
	}
	return view
}

func (o *outcomePage) add(view outcomeView) {
	switch view.Result {
	case "failed":
		o.Failed++
	case "unchanged":
	default:
		o.Changed++
	}
	o.Jobs = append(o.Jobs, view)
}

// printOutcomes prints few jobs one by one and many in sums. It fails when something could not be done.
func (p *Program) printOutcomes(verb jobVerb, page outcomePage) error {
	page.Jobs = orEmpty(page.Jobs)
	switch {
	case p.json:
		if err := p.printJSON(page); err != nil {
			return err
		}
	case p.quiet:
		for _, job := range page.Jobs {
			if job.Result == verb.done {
				fmt.Fprintln(p.stdout, job.ID)
			}
		}
	default:
		if err := p.printOutcomeTable(page); err != nil {
			return err
		}
		p.noteOutcomes(verb, page)
	}
	if page.Failed == 0 {
		return nil
	}
	err := fmt.Errorf("%d of %d jobs could not be %s", page.Failed, page.Matched, verb.done)
	if p.quiet {
		return err
	}
	return &silentError{err}
}

// noteOutcomes sums up for people.
func (p *Program) noteOutcomes(verb jobVerb, page outcomePage) {
	if page.Matched == 0 {
		p.note("No job is meant.")
		return
	}
	text := fmt.Sprintf("%d of %s %s", page.Changed, jobCount(page.Matched), verb.done)
	if already := page.Matched - page.Changed - page.Failed; already > 0 {
		text += fmt.Sprintf(", %d so already", already)
	}
	if page.Failed > 0 {
		text += fmt.Sprintf(", %d could not be", page.Failed)
	}
	p.note("%s.", text)
	if page.More {
		p.note("There are more; call it again.")
	}
}

func (p *Program) printOutcomeTable(page outcomePage) error {
	if len(page.Jobs) == 0 {
		return nil
	}
	if len(page.Jobs) <= fewPerJob {
		rows := make([][]string, len(page.Jobs))
		for i, job := range page.Jobs {
			rows[i] = []string{digits(job.ID), job.Result, orDash(job.State), job.Note}
		}
		return table(p.stdout, []string{"ID", "RESULT", "STATE", "NOTE"}, rows)
	}
	type sum struct{ result, state, note string }
	var order []sum
	counts, first := map[sum]int{}, map[sum]int64{}
	for _, job := range page.Jobs {
		// The note names other jobs here and there; what is the same but for that is one line.
		key := sum{job.Result, job.State, jobNumber.ReplaceAllString(job.Note, "another job")}
		if counts[key] == 0 {
			order = append(order, key)
			first[key] = job.ID
		}
		counts[key]++
	}
	rows := make([][]string, len(order))
	for i, key := range order {
		rows[i] = []string{strconv.Itoa(counts[key]), key.result, orDash(key.state), key.note, strconv.FormatInt(first[key], 10)}
	}
	return table(p.stdout, []string{"JOBS", "RESULT", "STATE", "NOTE", "EXAMPLE"}, rows)
}
