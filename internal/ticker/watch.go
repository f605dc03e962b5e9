package ticker

import (
	"context"
	"time"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
)

// Tolerance is how much later than due a run may start and be in time. A change of leaders may take longer; then the
// schedule is late for a moment, which is true.
const Tolerance = 10 * time.Second

// watch finds out how schedules are of which there is news.
func (l *leadership) watch(ctx context.Context, agenda *store.Agenda, now time.Time) (bool, error) {
	// While news of the runs is outstanding, a status would be judged by what was before.
	if l.noteDue || !agenda.Watch && (agenda.StatusDue == nil || agenda.StatusDue.After(now)) {
		return false, nil
	}
	rows, err := store.SchedulesToWatch(ctx, l.config.Pool, now, batch)
	if err != nil {
		return false, err
	}
	statuses := make([]store.ScheduleStatus, len(rows))
	for i := range rows {
		statuses[i] = l.status(&rows[i], now)
	}
	if len(statuses) == 0 {
		return false, nil
	}
	_, err = store.SetScheduleStatuses(ctx, l.config.Pool, statuses)
	// A full batch has others behind it. A row that somebody holds at the moment comes with the next look.
	return len(rows) == batch, err
}

func (l *leadership) status(row *store.SchedulesToWatchRow, now time.Time) store.ScheduleStatus {
	found := store.ScheduleStatus{Name: row.Name, Version: row.Version}
	p := l.read(row.Name, row.Definition)
	if row.Problem != nil && row.PausedAt == nil || p.err != nil {
		found.Status, found.Since = string(schedule.Missed), now
		return found
	}
	status, since, until := factsOf(row, p.definition, now).Status(now)
	found.Status, found.Since = string(status), since
	if !until.IsZero() {
		found.Due = &until
	}
	if status == schedule.OK && row.Status != string(schedule.OK) && row.Status != string(schedule.Failed) {
		found.Since = now // it was late, too long or paused until now
	}
	return found
}

func factsOf(row *store.SchedulesToWatchRow, d *schedule.Definition, now time.Time) schedule.Facts {
	moment := func(t *time.Time) time.Time {
		if t == nil {
			return time.Time{}
		}
		return *t
	}
	f := schedule.Facts{
		Since: row.WatchedSince, PausedAt: moment(row.PausedAt), Overdue: moment(row.OverdueSince),
		LastSuccess: moment(row.LastSuccess), LastFailure: moment(row.LastFailure), RunningSince: moment(row.RunningSince),
		Tolerance: Tolerance, Grace: time.Duration(d.Grace), Longest: time.Duration(d.Longest),
	}
	if f.Grace == 0 {
		f.Grace = schedule.DefaultGrace
	}
	// A tick that is due and was not fired yet is due all the same, unless it waits for a run to end.
	if row.NextDue != nil && !(row.Held && d.Alone()) && !row.NextDue.After(now) && (f.Overdue.IsZero() || row.NextDue.Before(f.Overdue)) {
		f.Overdue = *row.NextDue
	}
	// What waited through a pause has its time anew.
	if !f.Overdue.IsZero() && f.Overdue.Before(f.Since) {
		f.Overdue = f.Since
	}
	return f
}
