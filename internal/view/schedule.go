// Package view has the JSON in which the commands and the HTTP API show the same things.
//
// The contract: a field stays what it is, lengths of time are seconds, and what is not known is null. The tag about says
// what a field means; the reference of the commands is made of it.
package view

import (
	"encoding/json"
	"time"

	"github.com/towpath/towpath/internal/store"
)

// SchedulePage is a page of schedules.
type SchedulePage struct {
	Schedules []Schedule `json:"schedules" about:"by name"`
	Next      *string    `json:"next" about:"what --after needs for the next page; null on the last one"`
}

// Schedule is a schedule.
type Schedule struct {
	Name          string          `json:"name" about:"its name"`
	Expression    string          `json:"expression" about:"when it runs, as it was written"`
	InWords       string          `json:"in_words" about:"the same in plain words"`
	Zone          string          `json:"zone" about:"the time zone of the expression"`
	Kind          string          `json:"kind" about:"the kind of its jobs"`
	Args          json.RawMessage `json:"args" about:"the args of its jobs"`
	Queue         string          `json:"queue" about:"the queue of its jobs"`
	Priority      int32           `json:"priority" about:"the priority of its jobs"`
	Status        string          `json:"status" about:"ok, late, missed, failed, too_long or paused"`
	StatusSince   time.Time       `json:"status_since" about:"since when"`
	NextRun       *time.Time      `json:"next_run" about:"the next tick; null when there is none, or it is not known yet"`
	LateBy        *float64        `json:"late_by" about:"for how many seconds that tick has been due; null if it is not"`
	LastStart     *time.Time      `json:"last_start" about:"when a run last started"`
	LastSuccess   *time.Time      `json:"last_success" about:"when a run last succeeded"`
	LastFailure   *time.Time      `json:"last_failure" about:"when a run last failed for good, or was cancelled"`
	LastOutcome   *string         `json:"last_outcome" about:"how the run ended that ended last"`
	LastDuration  *float64        `json:"last_duration" about:"how many seconds the last run took that succeeded"`
	UsualDuration *float64        `json:"usual_duration" about:"the median of the last 20 that succeeded, in seconds"`
	RunningSince  *time.Time      `json:"running_since" about:"since when the longest of its running runs runs"`
	PausedAt      *time.Time      `json:"paused_at" about:"since when it is paused; null if it is not"`
	PausedBy      *string         `json:"paused_by" about:"who paused it"`
	PauseReason   *string         `json:"pause_reason" about:"why, if it was said"`
	DefinedIn     string          `json:"defined_in" about:"code, run time, or both"`
	Holds         string          `json:"holds" about:"which definition holds: code or edited"`
	ChangedAt     time.Time       `json:"changed_at" about:"when a definition last changed"`
	ChangedBy     *string         `json:"changed_by" about:"who changed it"`
	Problem       *string         `json:"problem" about:"why the leader cannot fire it; null if it can"`
	Code          json.RawMessage `json:"code" about:"the definition in code"`
	Edited        json.RawMessage `json:"edited" about:"the definition made at run time"`
}

// ScheduleRun is a run of a schedule.
type ScheduleRun struct {
	N          int64      `json:"n" about:"counts the runs of the schedule"`
	Tick       time.Time  `json:"tick" about:"the moment that the expression names"`
	Due        time.Time  `json:"due" about:"when it was to be fired"`
	Ticks      int32      `json:"ticks" about:"how many ticks it stands for"`
	Cause      string     `json:"cause" about:"tick, manual or backfill"`
	JobID      *int64     `json:"job_id" about:"its job; null if it was skipped"`
	Outcome    string     `json:"outcome" about:"waiting, running, retrying, succeeded, failed, cancelled, deleted or skipped"`
	Attempt    int16      `json:"attempt" about:"which attempt the times are about"`
	StartedAt  *time.Time `json:"started_at" about:"when that attempt started"`
	FinishedAt *time.Time `json:"finished_at" about:"when the job ended"`
	Duration   *float64   `json:"duration" about:"how many seconds the last attempt took"`
	Process    *string    `json:"process" about:"the client that ran it"`
	Host       *string    `json:"host" about:"the machine that it ran on"`
	Note       *string    `json:"note" about:"why it was skipped, or its error"`
}

// OfSchedule shows a schedule.
func OfSchedule(s *store.ScheduleView) Schedule {
	return Schedule{
		Name: s.Name, Expression: s.Expression, InWords: s.InWords, Zone: s.Zone, Kind: s.Kind, Args: s.Args, Queue: s.Queue, Priority: s.Priority,
		Status: s.Status, StatusSince: s.StatusSince, NextRun: s.NextRun, LateBy: Seconds(s.LateBy), LastStart: s.LastStart, LastSuccess: s.LastSuccess,
		LastFailure: s.LastFailure, LastOutcome: s.LastOutcome, LastDuration: Seconds(s.LastDuration), UsualDuration: Seconds(s.UsualDuration),
		RunningSince: s.RunningSince, PausedAt: s.PausedAt, PausedBy: s.PausedBy, PauseReason: s.PauseReason, DefinedIn: s.DefinedIn, Holds: s.Holds,
		ChangedAt: s.ChangedAt, ChangedBy: s.ChangedBy, Problem: s.Problem, Code: orNull(s.Code), Edited: orNull(s.Edited),
	}
}

func orNull(document json.RawMessage) json.RawMessage {
	if document == nil {
		return json.RawMessage("null")
	}
	return document
}

// OfScheduleRun shows a run.
func OfScheduleRun(r *store.ScheduleRunView) ScheduleRun {
	return ScheduleRun{
		N: r.N, Tick: r.Tick, Due: r.Due, Ticks: r.Ticks, Cause: r.Cause, JobID: r.JobID, Outcome: r.Outcome, Attempt: r.Attempt,
		StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Duration: Seconds(r.Duration), Process: r.Process, Host: r.Host, Note: r.Note,
	}
}

// Seconds is a length of time, null if there is none.
func Seconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	seconds := d.Seconds()
	return &seconds
}
