package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// process is a live process as far as the doctor looks at it.
type process struct {
	ClientID string
	Host     string
	PID      int
	Roles    []string
	MayLead  bool
	MaxConns int
	Ahead    *time.Duration
	Copies   int // live rows of the same client id
}

// String is how a finding names a process.
func (p process) String() string { return fmt.Sprintf("%s (%s, pid %d)", p.ClientID, p.Host, p.PID) }

// live returns the live processes, as the view processes tells them. At a thousand the rest is left out.
func (e *examination) live(ctx context.Context) ([]process, error) {
	return query[process](ctx, e, `
		SELECT p.client_id, p.host, p.pid, p.roles, p.may_lead, p.max_conns, p.clock_ahead, count(*) OVER (PARTITION BY p.client_id)
		FROM towpath.process p JOIN towpath.processes seen ON seen.epoch = p.epoch
		WHERE seen.status = 'live'
		ORDER BY p.client_id, p.epoch LIMIT 1000`)
}

// lookAtFleet finds a fleet that cannot do all that there is to do.
func lookAtFleet(ctx context.Context, e *examination) error {
	processes, err := e.live(ctx)
	if err != nil {
		return err
	}
	if err := e.lookAtQueues(ctx); err != nil || len(processes) == 0 {
		return err
	}
	e.findTwins(processes)
	var candidates int
	for _, p := range processes {
		if p.MayLead {
			candidates++
		}
	}
	if candidates == 0 {
		e.find(Fault, fmt.Sprintf("none of the %d live processes may lead: due, periodic and retried jobs wait, nothing is tidied", len(processes)),
			"fleet", e.command("scheduler")+"   # start one, or set TOWPATH_LEAD=on for a worker")
		return nil
	}
	var leader string
	err = e.pool.QueryRow(ctx, `SELECT coalesce((SELECT client_id FROM towpath.leader), '')`).
		Scan(&leader)
	if err != nil {
		return err
	}
	if leader == "" {
		e.find(Fault, fmt.Sprintf("there is no leader, though %d of the live processes may lead", candidates), "towpath.river_leader",
			"look into the log of "+strings.Join(first(names(processes, func(p process) bool { return p.MayLead }), 3), ", ")+", and restart it")
	}
	return nil
}

// findTwins finds two live processes under one client id.
func (e *examination) findTwins(processes []process) {
	told := map[string]bool{}
	for _, p := range processes {
		if p.Copies < 2 || told[p.ClientID] {
			continue
		}
		told[p.ClientID] = true
		e.find(Fault, fmt.Sprintf("%d live processes share the client id %q, and take each other's jobs for their own", p.Copies, p.ClientID),
			strings.Join(names(processes, func(o process) bool { return o.ClientID == p.ClientID }), ", "),
			"give each process a TOWPATH_CLIENT_ID of its own, or none")
	}
}

func names(processes []process, want func(process) bool) []string {
	var all []string
	for _, p := range processes {
		if want(p) {
			all = append(all, p.String())
		}
	}
	return all
}

// lookAtQueues finds queues whose jobs nobody works, which is for the view fleet to say as for every command. A queue
// without jobs that could run needs nobody.
func (e *examination) lookAtQueues(ctx context.Context) error {
	type queue struct {
		Name   string
		Oldest time.Duration
	}
	// Each queue is one step through the index of waiting jobs.
	queues, err := query[queue](ctx, e, `
		WITH RECURSIVE waiting AS (
			(SELECT queue FROM towpath.river_job WHERE state = 'available' ORDER BY queue LIMIT 1)
			UNION ALL
			SELECT (SELECT j.queue FROM towpath.river_job j WHERE j.state = 'available' AND j.queue > w.queue ORDER BY j.queue LIMIT 1)
			FROM waiting w WHERE w.queue IS NOT NULL
		)
		SELECT w.queue, clock_timestamp() - oldest.scheduled_at
		FROM waiting w
		CROSS JOIN LATERAL (
			SELECT j.scheduled_at FROM towpath.river_job j
			WHERE j.state = 'available' AND j.queue = w.queue ORDER BY j.priority, j.scheduled_at LIMIT 1
		) oldest
		WHERE w.queue IS NOT NULL AND NOT EXISTS (SELECT FROM towpath.fleet f WHERE f.queue = w.queue)
		ORDER BY 2 DESC LIMIT $1`, most)
	if err != nil {
		return err
	}
	for _, q := range queues {
		e.find(Fault, fmt.Sprintf("no live process works the queue %q, whose next job has waited for %s", q.Name, max(q.Oldest, 0).Round(time.Second)),
			"queue "+q.Name, fmt.Sprintf("TOWPATH_QUEUES=%s=100 %s", q.Name, e.command("worker")))
	}
	return nil
}
