package schedule

import "time"

const (
	// InTime is how late a tick may be fired and still not count as missed: a new leader takes that long to begin.
	InTime = time.Minute
	// MostUnfinished bounds how many runs of one schedule are unfinished while missed ticks are caught up.
	MostUnfinished = 100
	// MostCounted bounds how many ticks one decision looks at.
	MostCounted = 100_000
)

// Position is where a schedule stands.
type Position struct {
	After time.Time // ticks up to here are decided upon, or came before the definition
	Next  time.Time // the next tick; zero: the first one after After
	Held  bool      // Next has come in its time and waits for a run to end
	Open  int       // unfinished runs
}

// Reasons why a tick does not run.
const (
	ReasonMissed  = "missed"
	ReasonOverlap = "overlap"
)

// Fired is a tick that runs.
type Fired struct {
	Tick, Due time.Time
	Ticks     int       // how many ticks the run stands for
	Since     time.Time // since when its start is awaited: the first of them was due then, or it was held until then
}

// Passed are ticks that do not run.
type Passed struct {
	First, Last, Due time.Time // Due is that of the last
	Since            time.Time // when the first was due
	Ticks            int
	Reason           string
}

// Decision is what to do now.
type Decision struct {
	Fire     []Fired
	Pass     []Passed
	Position Position // with Next zero when there is no tick any more
}

// Alone reports whether a tick does not run while another run goes on.
func (d *Definition) Alone() bool { return d.Overlap == SkipOverlap || d.Overlap == Queue }

// Decide says what to do at a moment. Deciding again at the same moment, or at an earlier one, does nothing more: a tick
// is decided upon once.
func (d *Definition) Decide(p *Plan, at Position, now time.Time) Decision {
	if at.Next.IsZero() {
		at.Next = p.Next(at.After)
	}
	decision := Decision{Position: at}
	due := p.dueTicks(at, now)
	if len(due) == 0 {
		return decision
	}
	c := &choice{plan: p, definition: d, now: now, open: at.Open, held: at.Held, decision: &decision}
	rest := c.overlap(c.missed(due))
	decision.Position.Held = len(rest) > 0
	decision.Position.Open = c.open
	if len(rest) > 0 {
		decision.Position.Next = rest[0]
		if d.Missed == "" || d.Missed == Coalesce {
			decision.Position.Next = due[0] // all of them still wait to become one
		}
		return decision
	}
	last := due[len(due)-1]
	decision.Position.After = latest(at.After, last)
	decision.Position.Next = p.Next(decision.Position.After)
	return decision
}

// dueTicks lists the ticks that are due, the last ones if there are too many.
func (p *Plan) dueTicks(at Position, now time.Time) []time.Time {
	var due []time.Time
	for tick := at.Next; !tick.IsZero() && !p.Due(tick).After(now); tick = p.Next(latest(tick, at.After)) {
		due = append(due, tick)
		if len(due) == MostCounted {
			if last := p.Prev(now.Add(time.Nanosecond - p.jitter)); last.After(tick) {
				due[len(due)-1] = last
			}
			return due
		}
	}
	return due
}

// choice is a decision under way.
type choice struct {
	plan       *Plan
	definition *Definition
	now        time.Time
	open       int
	held       bool
	decision   *Decision
}

// missed passes over those of the ticks that came too long ago, and returns the others, each with how many it stands for.
func (c *choice) missed(due []time.Time) []Fired {
	last := due[len(due)-1]
	switch c.definition.Missed {
	case CatchUp:
		fired := make([]Fired, len(due))
		for i, tick := range due {
			fired[i] = c.fired(tick, tick, 1)
		}
		return fired
	case Skip:
		var fired, passed []Fired
		for i, tick := range due {
			f := c.fired(tick, tick, 1)
			late := c.now.Sub(f.Due)
			if i == 0 && c.held || late <= time.Duration(c.definition.SkipAfter) ||
				c.definition.SkipAfter == 0 && tick.Equal(last) && late <= InTime {
				fired = append(fired, f)
			} else {
				passed = append(passed, f)
			}
		}
		reason := ReasonMissed
		if c.held { // they came in their time, and one waited already
			reason = ReasonOverlap
		}
		c.pass(passed, reason)
		return fired
	default:
		return []Fired{c.fired(due[0], last, len(due))}
	}
}

// fired is a run for ticks. One that was held for another's end is awaited only now.
func (c *choice) fired(first, last time.Time, ticks int) Fired {
	f := Fired{Tick: last, Due: c.plan.Due(last), Ticks: ticks, Since: c.plan.Due(first)}
	if c.held && c.definition.Alone() {
		f.Since = c.now
	}
	return f
}

func (c *choice) pass(ticks []Fired, reason string) {
	if len(ticks) == 0 {
		return
	}
	passed := Passed{First: ticks[0].Tick, Last: ticks[len(ticks)-1].Tick, Due: ticks[len(ticks)-1].Due, Since: ticks[0].Since, Reason: reason}
	for _, tick := range ticks {
		passed.Ticks += tick.Ticks
	}
	c.decision.Pass = append(c.decision.Pass, passed)
}

// overlap fires the ticks as far as unfinished runs allow, and returns those that wait.
func (c *choice) overlap(ticks []Fired) (rest []time.Time) {
	if len(ticks) == 0 {
		return nil
	}
	alone := c.definition.Alone()
	backlog := c.definition.Missed == CatchUp && (c.held || len(ticks) > 1 || c.now.Sub(ticks[0].Due) > InTime)
	room := len(ticks)
	switch {
	case alone:
		room = max(1-c.open, 0)
	case backlog:
		room = max(MostUnfinished-c.open, 0)
	}
	room = min(room, len(ticks))
	c.decision.Fire = append(c.decision.Fire, ticks[:room]...)
	c.open += room
	ticks = ticks[room:]
	if backlog || room == 0 && c.definition.Overlap == Queue {
		for _, tick := range ticks {
			rest = append(rest, tick.Tick)
		}
		return rest
	}
	c.pass(ticks, ReasonOverlap)
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
