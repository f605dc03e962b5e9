package api

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Check is one thing that readiness depends on.
type Check struct {
	Name string
	// Advisory checks warn: the process itself can work, something else should be seen to.
	Advisory bool
	// Run fails when the process cannot work. Its error goes to the log, not into the answer.
	Run func(ctx context.Context) error
}

const (
	// checkLimit bounds a check: a database that takes longer is as good as away.
	checkLimit = 5 * time.Second
	// checkEvery bounds how often checks run, however many ask.
	checkEvery = time.Second
)

// Readiness is the answer of /readyz.
type Readiness struct {
	Status string        `json:"status"` // ready or unready
	Checks []CheckStatus `json:"checks"`
}

// CheckStatus is the state of one check.
type CheckStatus struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, failing, or warning, which leaves the process ready
}

// readiness runs the checks and remembers their outcome for a moment.
type readiness struct {
	checks []Check
	logger *slog.Logger

	mu      sync.Mutex
	latest  Readiness
	at      time.Time
	failing map[string]bool
}

func (r *readiness) handle(w http.ResponseWriter, req *http.Request) {
	answer := r.look(req.Context())
	status := http.StatusOK
	if answer.Status != "ready" {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
}

// look returns an outcome that is at most checkEvery old. Those who ask meanwhile wait for the same one.
func (r *readiness) look(ctx context.Context) Readiness {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) < checkEvery {
		return r.latest
	}
	// The outcome is for all who ask, so it does not depend on the first of them staying.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkLimit)
	defer cancel()
	errs := make([]error, len(r.checks))
	var running sync.WaitGroup
	for i, check := range r.checks {
		running.Go(func() { errs[i] = check.Run(ctx) })
	}
	running.Wait()

	answer := Readiness{Status: "ready", Checks: make([]CheckStatus, len(r.checks))}
	for i, check := range r.checks {
		answer.Checks[i] = CheckStatus{Name: check.Name, Status: "ok"}
		switch {
		case errs[i] == nil:
		case check.Advisory:
			answer.Checks[i].Status = "warning"
		default:
			answer.Status, answer.Checks[i].Status = "unready", "failing"
		}
		r.tell(ctx, check.Name, errs[i])
	}
	r.latest, r.at = answer, time.Now()
	return answer
}

// tell logs a change, so that probes every few seconds do not fill the log.
func (r *readiness) tell(ctx context.Context, name string, err error) {
	if r.failing == nil {
		r.failing = map[string]bool{}
	}
	switch {
	case err != nil && !r.failing[name]:
		r.logger.WarnContext(ctx, "readiness check fails", slog.String("check", name), slog.Any("error", err))
	case err == nil && r.failing[name]:
		r.logger.InfoContext(ctx, "readiness check passes again", slog.String("check", name))
	}
	r.failing[name] = err != nil
}
