package monitor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/getsentry/sentry-go"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
)

const (
	// cronsWaiting is how many check-ins may wait to be sent.
	cronsWaiting = 1000
	// cronsKnown is how long a schedule's definition is taken for known.
	cronsKnown = time.Minute
	// cronsLookup bounds the look at a definition.
	cronsLookup = 5 * time.Second
	// cronsLongest is the longest run that Sentry knows, in minutes: 28 days.
	cronsLongest = 28 * 24 * 60
)

// sentryCrons checks runs of schedules in at Sentry. All attempts of a run are one check-in, whichever processes work them.
type sentryCrons struct {
	client  *sentry.Client
	pool    *pgxpool.Pool
	logger  *slog.Logger
	dropped *atomic.Uint64
	waiting chan cronsEvent
	stop    chan struct{}
	stopped chan struct{}
	known   map[string]knownMonitor // of the goroutine that sends
}

type cronsEvent struct {
	schedule string
	checkIn  sentry.CheckIn
}

type knownMonitor struct {
	config *sentry.MonitorConfig // nil: Sentry knows no such schedule
	reason string                // why not, if it cannot
	until  time.Time
}

func newSentryCrons(client *sentry.Client, pool *pgxpool.Pool, logger *slog.Logger, dropped *atomic.Uint64) *sentryCrons {
	return &sentryCrons{
		client: client, pool: pool, logger: logger, dropped: dropped, waiting: make(chan cronsEvent, cronsWaiting),
		stop: make(chan struct{}), stopped: make(chan struct{}), known: map[string]knownMonitor{},
	}
}

func (c *sentryCrons) start() {
	go func() {
		defer close(c.stopped)
		for {
			select {
			case event := <-c.waiting:
				c.send(event)
				continue
			case <-c.stop:
			}
			for { // no job runs any more
				select {
				case event := <-c.waiting:
					c.send(event)
				default:
					return
				}
			}
		}
	}()
}

func (c *sentryCrons) end() {
	close(c.stop)
	<-c.stopped
}

// tell notes a check-in, if a schedule enqueued the job.
func (c *sentryCrons) tell(job *rivertype.JobRow, status sentry.CheckInStatus, ran time.Duration) {
	name, tick, ok := schedule.TickOf(job.Metadata)
	if !ok {
		return
	}
	id := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", name, tick.UTC(), job.ID))
	event := cronsEvent{name, sentry.CheckIn{
		ID: sentry.EventID(hex.EncodeToString(id[:16])), MonitorSlug: monitorSlug(name), Status: status, Duration: ran,
	}}
	select {
	case c.waiting <- event:
	default:
		c.dropped.Add(1)
	}
}

func (c *sentryCrons) send(event cronsEvent) {
	monitor, known := c.known[event.schedule]
	if !known || time.Now().After(monitor.until) {
		monitor = c.look(event.schedule, monitor)
		monitor.until = time.Now().Add(cronsKnown)
		c.known[event.schedule] = monitor
	}
	if monitor.config != nil {
		c.client.CaptureCheckIn(&event.checkIn, monitor.config, nil)
	}
}

// look reads a schedule. While the database is away, what was known of it before holds; why Sentry cannot watch it is said
// once.
func (c *sentryCrons) look(name string, before knownMonitor) knownMonitor {
	ctx, cancel := context.WithTimeout(context.Background(), cronsLookup)
	defer cancel()
	document, there, err := store.ScheduleDefinition(ctx, c.pool, name)
	var definition schedule.Definition
	if err == nil && there {
		err = json.Unmarshal(document, &definition)
	}
	switch {
	case err != nil:
		return before
	case !there: // it was deleted since
		return knownMonitor{}
	}
	monitor, reason := monitorOf(&definition)
	if reason != "" && reason != before.reason {
		c.logger.WarnContext(ctx, "a schedule does not check in at Sentry", slog.String("schedule", name), slog.String("reason", reason))
	}
	return knownMonitor{config: monitor, reason: reason}
}

// monitorOf says how Sentry watches a schedule, or why it cannot.
func monitorOf(d *schedule.Definition) (*sentry.MonitorConfig, string) {
	zone := d.Zone
	if zone == "" {
		zone = "UTC"
	}
	expression, err := schedule.Parse(d.Expression, zone)
	if err != nil {
		return nil, err.Error()
	}
	monitor := &sentry.MonitorConfig{Timezone: zone, MaxRuntime: cronsLongest, CheckInMargin: minutes(max(time.Duration(d.Grace), time.Minute))}
	if d.Grace == 0 {
		monitor.CheckInMargin = minutes(schedule.DefaultGrace)
	}
	if d.Longest > 0 {
		monitor.MaxRuntime = min(minutes(time.Duration(d.Longest)), cronsLongest)
	}
	if crontab, ok := expression.Crontab(); ok {
		monitor.Schedule = sentry.CrontabSchedule(crontab)
		return monitor, ""
	}
	period := expression.Period()
	if period < time.Minute || period%time.Minute != 0 {
		return nil, "Sentry knows whole minutes alone"
	}
	monitor.Schedule = sentry.IntervalSchedule(int64(period/time.Minute), sentry.MonitorScheduleUnitMinute)
	return monitor, ""
}

func minutes(d time.Duration) int64 { return int64(math.Ceil(d.Minutes())) }

var notInSlug = regexp.MustCompile(`[^a-z0-9_]+`)

// monitorSlug is a schedule's name as Sentry takes it: up to 50 small letters, digits, - and _. Names that would come to be
// the same are told apart by a part of their sum.
func monitorSlug(name string) string {
	const most = 50
	slug := strings.Trim(notInSlug.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if slug == name && len(slug) <= most {
		return slug
	}
	sum := sha256.Sum256([]byte(name))
	return strings.Trim(slug[:min(len(slug), most-9)], "-") + "-" + hex.EncodeToString(sum[:4])
}
