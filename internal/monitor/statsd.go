package monitor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/store"
)

const (
	// statsdPacket is what fits into one frame of Ethernet whatever is between, so that no packet is cut in two.
	statsdPacket = 1432
	// statsdWaiting is how many packets may wait to be sent.
	statsdWaiting = 256
	// statsdFlush is how long a message waits for others to fill its packet.
	statsdFlush = 100 * time.Millisecond
	// statsdGauges is how often gauges are sent: StatsD's own interval.
	statsdGauges = 10 * time.Second
	// statsdRedial is the pause after an address could not be reached.
	statsdRedial = time.Second
)

// StatsD sends what happens to a StatsD agent by UDP. It is told by the goroutines of the jobs, which it never keeps
// waiting: a message is appended to a packet in memory, another goroutine sends the packets, and those that find no room
// are dropped and counted.
//
// Without tags a name carries queue and kind, as in towpath.default.mail_send.prerun. With tags, in DogStatsD's form, they
// are tags of towpath.prerun.
type StatsD struct {
	address string
	tags    bool
	logger  *slog.Logger
	dropped atomic.Uint64 // messages
	waiting chan []byte
	stop    chan struct{}
	stopped chan struct{}
	names   sync.Map // messageKey to message

	mu     sync.Mutex
	packet []byte
	lines  int
}

// NewStatsD returns an emitter that has not been started.
func NewStatsD(address string, tags bool, logger *slog.Logger) *StatsD {
	return &StatsD{
		address: address, tags: tags, logger: logger,
		waiting: make(chan []byte, statsdWaiting), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// Start begins to send.
func (s *StatsD) Start() { go s.send() }

// Stop sends what there is and ends.
func (s *StatsD) Stop() {
	close(s.stop)
	<-s.stopped
}

// Dropped is how many messages did not find room or could not be sent.
func (s *StatsD) Dropped() uint64 { return s.dropped.Load() }

// AttemptBegan implements workers.Observer.
func (s *StatsD) AttemptBegan(job *rivertype.JobRow) {
	s.job(job, "prerun", "1|c")
}

// AttemptEnded implements workers.Observer.
func (s *StatsD) AttemptEnded(job *rivertype.JobRow, outcome string, ran time.Duration) {
	s.job(job, "postrun", "1|c")
	switch outcome {
	case "succeeded":
		s.job(job, "success", "1|c")
	case "retried":
		s.job(job, "failure", "1|c")
		s.job(job, "retry", "1|c")
	case "discarded":
		s.job(job, "failure", "1|c")
	}
	s.job(job, "runtime", strconv.FormatInt(ran.Milliseconds(), 10)+"|ms")
}

type messageKey struct{ queue, kind, event string }

// message is what stands before and behind a value.
type message struct{ name, tags string }

func (s *StatsD) job(job *rivertype.JobRow, event, value string) {
	key := messageKey{job.Queue, job.Kind, event}
	m, known := s.names.Load(key)
	if !known {
		made := message{name: "towpath." + segment(job.Queue) + "." + segment(job.Kind) + "." + event + ":"}
		if s.tags {
			made = message{name: "towpath." + event + ":", tags: "|#queue:" + tag(job.Queue) + ",kind:" + tag(job.Kind)}
		}
		m, _ = s.names.LoadOrStore(key, made)
	}
	made := m.(message) //nolint:forcetypeassert // nothing else is stored
	s.add(made.name, value, made.tags)
}

// Gauge sends a value of a thing of some sort, such as the queue "mail". A value below zero would be taken for a change
// of the one before it, so zero goes ahead of it.
func (s *StatsD) Gauge(sort, thing, what string, value int64) {
	name, tags := "towpath."+sort+"."+segment(thing)+"."+what+":", ""
	if s.tags {
		name, tags = "towpath."+sort+"."+what+":", "|#"+sort+":"+tag(thing)
	}
	text := strconv.FormatInt(value, 10) + "|g"
	if value < 0 && !s.tags { // DogStatsD knows no changes
		s.add(name, "0|g", tags, name, text, tags)
		return
	}
	s.add(name, text, tags)
}

// add appends one message, or two that must keep their order, to the packet. Each is a name, a value and tags.
func (s *StatsD) add(parts ...string) {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.packet) > 0 && len(s.packet)+size+len(parts)/3 > statsdPacket {
		s.flush()
	}
	for i, part := range parts {
		if i%3 == 0 && len(s.packet) > 0 {
			s.packet = append(s.packet, '\n')
		}
		s.packet = append(s.packet, part...)
	}
	s.lines += len(parts) / 3
}

// flush hands the packet over. It is called under the lock.
func (s *StatsD) flush() {
	if len(s.packet) == 0 {
		return
	}
	select {
	case s.waiting <- s.packet:
	default:
		s.dropped.Add(uint64(s.lines)) //nolint:gosec // not negative
	}
	s.packet, s.lines = make([]byte, 0, statsdPacket), 0
}

// send sends packets until Stop, and what is left then.
func (s *StatsD) send() {
	defer close(s.stopped)
	var line line
	defer line.close()
	ticker := time.NewTicker(statsdFlush)
	defer ticker.Stop()
	for {
		select {
		case packet := <-s.waiting:
			s.sendOne(&line, packet)
		case <-ticker.C:
			s.mu.Lock()
			s.flush()
			s.mu.Unlock()
		case <-s.stop:
			s.mu.Lock()
			s.flush()
			s.mu.Unlock()
			for {
				select {
				case packet := <-s.waiting:
					s.sendOne(&line, packet)
				default:
					return
				}
			}
		}
	}
}

// line is the way to the agent.
type line struct {
	conn    net.Conn
	nextTry time.Time
	failing bool
}

func (l *line) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// sendOne sends a packet, or drops it. A name is resolved anew after an error, so that an agent may move.
func (s *StatsD) sendOne(l *line, packet []byte) {
	err := func() (err error) {
		if l.conn == nil {
			if time.Now().Before(l.nextTry) {
				return errLineDown
			}
			dialer := net.Dialer{Timeout: statsdRedial}
			if l.conn, err = dialer.DialContext(context.Background(), "udp", s.address); err != nil {
				l.conn = nil
				return err
			}
		}
		_, err = l.conn.Write(packet)
		return err
	}()
	if err == nil {
		if l.failing {
			l.failing = false
			s.logger.Info("statsd can be reached again", slog.String("address", s.address))
		}
		return
	}
	s.dropped.Add(uint64(strings.Count(string(packet), "\n")) + 1) //nolint:gosec // not negative
	if !errors.Is(err, errLineDown) {
		l.close()
		l.nextTry = time.Now().Add(statsdRedial)
	}
	if !l.failing {
		l.failing = true
		s.logger.Warn("statsd cannot be reached; messages are dropped", slog.String("address", s.address), slog.Any("error", err))
	}
}

var errLineDown = errors.New("tried a moment ago")

// segment makes a part of a name that Graphite leaves alone.
func segment(text string) string {
	return mapped(text, func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
	})
}

// tag makes a value of a tag, in which only what parts tags and messages has a meaning.
func tag(text string) string {
	return mapped(text, func(r rune) bool { return r > ' ' && r != ',' && r != '|' && r != '#' && r != 0x7f })
}

func mapped(text string, keeps func(rune) bool) string {
	if text == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if keeps(r) {
			return r
		}
		return '_'
	}, text)
}

// LeadStatsD sends the gauges of the database for as long as this process leads, see jobs.Config.Lead.
func (m *Monitor) LeadStatsD(ctx context.Context, statsd *StatsD) {
	ticker := time.NewTicker(statsdGauges)
	defer ticker.Stop()
	for {
		if err := m.sendGauges(ctx, statsd); err != nil && ctx.Err() == nil {
			m.config.Logger.WarnContext(ctx, "gauges are not sent to StatsD", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (m *Monitor) sendGauges(ctx context.Context, statsd *StatsD) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	queues, err := store.QueuesNow(ctx, m.config.Pool)
	if err != nil {
		return err
	}
	schedules, err := store.SchedulesNow(ctx, m.config.Pool)
	if err != nil {
		return err
	}
	for _, q := range queues {
		statsd.Gauge("queue", q.Queue, "available", q.Available)
		statsd.Gauge("queue", q.Queue, "running", q.Running)
		statsd.Gauge("queue", q.Queue, "oldest", int64(q.Oldest))
	}
	for _, s := range schedules {
		if status, known := scheduleStatus(s.Status); known {
			statsd.Gauge("schedule", s.Name, "status", int64(status))
		}
	}
	return nil
}
