package cmd

import (
	"time"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

// changedCheck is the result of `checks pause`, `resume` and `delete` with --json.
type changedCheck struct {
	Name    string `json:"name" about:"the check"`
	Changed bool   `json:"changed" about:"false if it was so already"`
}

// checkView is a check as --json prints it; an interface. Lengths of time are seconds.
type checkView struct {
	Name           string       `json:"name" about:"the check"`
	Status         string       `json:"status" about:"new, ok, late, missed, failed, too_long or paused"`
	StatusSince    time.Time    `json:"status_since" about:"since when it has that status"`
	Description    string       `json:"description" about:"what it is about"`
	URL            string       `json:"url,omitempty" about:"the address to ping, a secret; of checks show alone"`
	Period         *float64     `json:"period_seconds" about:"how long may pass from run to run; null with a cron expression"`
	Cron           *string      `json:"cron" about:"when a run is expected; null with a period"`
	Zone           string       `json:"zone" about:"of the cron expression"`
	Runs           string       `json:"runs" about:"when a run is expected, in words"`
	Grace          float64      `json:"grace_seconds" about:"how late a run may be before it counts as missed"`
	Longest        *float64     `json:"longest_seconds" about:"how long a run may take; null for no limit"`
	ExpectedBy     *time.Time   `json:"expected_by" about:"by when the next run is expected; null before the first and while paused"`
	LateBy         *float64     `json:"late_by_seconds" about:"how late that is; null if it is not"`
	LastPing       *time.Time   `json:"last_ping" about:"the latest ping of any kind"`
	LastStart      *time.Time   `json:"last_start" about:"the latest start that was told"`
	LastSuccess    *time.Time   `json:"last_success" about:"the latest success"`
	LastFailure    *time.Time   `json:"last_failure" about:"the latest failure"`
	LastExitStatus *int16       `json:"last_exit_status" about:"of the latest run that told one"`
	LastDuration   *float64     `json:"last_duration_seconds" about:"of the latest run that told its start and its end"`
	Running        int32        `json:"running" about:"runs that told their start and not their end"`
	RunningSince   *time.Time   `json:"running_since" about:"when the longest of them began"`
	Problem        *string      `json:"problem" about:"why nothing can be expected"`
	Pings          int64        `json:"pings" about:"how many it has had"`
	CreatedAt      time.Time    `json:"created_at" about:"when it was put first"`
	UpdatedAt      time.Time    `json:"updated_at" about:"when it was put, paused or resumed last"`
	UpdatedBy      string       `json:"updated_by" about:"who did that"`
	Events         []checkEvent `json:"events,omitempty" about:"the latest changes of its status, the newest first; of checks show alone"`
}

type checkEvent struct {
	At     time.Time `json:"at" about:"since when"`
	Status string    `json:"status" about:"the status from then on"`
	Was    string    `json:"was" about:"the one before"`
}

func viewCheck(c store.Check) checkView {
	return checkView{
		Name: c.Name, Status: c.Status, StatusSince: c.StatusSince, Description: c.Description,
		Period: view.Seconds(c.Period), Cron: c.Cron, Zone: c.Zone, Runs: rhythm(c), Grace: c.Grace.Seconds(), Longest: view.Seconds(c.Longest),
		ExpectedBy: c.ExpectedBy, LateBy: view.Seconds(c.LateBy), LastPing: c.LastPing, LastStart: c.LastStart, LastSuccess: c.LastSuccess,
		LastFailure: c.LastFailure, LastExitStatus: c.LastExitStatus, LastDuration: view.Seconds(c.LastDuration), Running: c.Running,
		RunningSince: c.RunningSince, Problem: c.Problem, Pings: c.Pings, CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, UpdatedBy: c.UpdatedBy,
	}
}

// pingView is a ping as --json prints it; an interface.
type pingView struct {
	ID         int64     `json:"id" about:"its number, growing"`
	At         time.Time `json:"at" about:"when it came"`
	Kind       string    `json:"kind" about:"start, success, fail or log"`
	ExitStatus *int16    `json:"exit_status" about:"that it told; null for none"`
	RunID      string    `json:"run_id" about:"which run it is about"`
	Duration   *float64  `json:"duration_seconds" about:"of the run that it ended; null where no start was told"`
	Source     string    `json:"source" about:"where it came from"`
	Body       string    `json:"body" about:"the first 10 kB of what it brought"`
	BodyBytes  int64     `json:"body_bytes" about:"how much it brought, as far as that was read"`
}

func viewPing(p store.CheckPing) pingView {
	shown := pingView{ID: p.ID, At: p.At, Kind: p.Kind, ExitStatus: p.ExitStatus, Duration: view.Seconds(p.Duration), Source: p.Source, BodyBytes: p.BodyBytes}
	if p.RunID != nil {
		shown.RunID = *p.RunID
	}
	if p.Body != nil {
		shown.Body = *p.Body
	}
	return shown
}
