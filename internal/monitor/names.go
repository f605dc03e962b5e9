package monitor

import (
	"cmp"
	"slices"

	"github.com/towpath/towpath/internal/store"
)

// other is the name of what has no name of its own among the labels.
const other = "other"

// set is the values of one label: those that are registered, of any number, and so many others. What is in stays in, so
// that no series changes its meaning while this process speaks.
type set struct {
	room int
	in   map[string]bool // true: registered
}

func (s *set) register(value string) {
	if registered, in := s.in[value]; in && !registered {
		s.room++
	}
	s.in[value] = true
}

// name returns the value, or other when there is no room for it.
func (s *set) name(value string) string {
	if _, in := s.in[value]; in {
		return value
	}
	if s.room == 0 {
		return other
	}
	s.room--
	s.in[value] = false
	return value
}

// names are the queues and kinds that are shown by name.
type names struct{ queues, kinds set }

func newNames(room int) *names {
	return &names{queues: set{room, make(map[string]bool)}, kinds: set{room, make(map[string]bool)}}
}

func (n *names) register(k store.KnownKind) {
	n.kinds.register(k.Kind)
	n.queues.register(k.Queue)
}

func boundLifecycle(all []store.Lifecycle, names *names) []store.Lifecycle {
	// When there is room for a part only, those with most jobs get it.
	slices.SortFunc(all, func(a, b store.Lifecycle) int {
		return cmp.Or(cmp.Compare(b.Received, a.Received), cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Kind, b.Kind))
	})
	at := make(map[[2]string]int, len(all))
	bounded := all[:0]
	for _, l := range all {
		l.Queue, l.Kind = names.queues.name(l.Queue), names.kinds.name(l.Kind)
		i, seen := at[[2]string{l.Queue, l.Kind}]
		if !seen {
			at[[2]string{l.Queue, l.Kind}] = len(bounded)
			bounded = append(bounded, l)
			continue
		}
		b := &bounded[i]
		b.Received, b.Started, b.Succeeded, b.Failed = b.Received+l.Received, b.Started+l.Started, b.Succeeded+l.Succeeded, b.Failed+l.Failed
		b.Retried, b.Snoozed, b.Interrupted = b.Retried+l.Retried, b.Snoozed+l.Snoozed, b.Interrupted+l.Interrupted
		b.Cancelled, b.Discarded, b.Revived = b.Cancelled+l.Cancelled, b.Discarded+l.Discarded, b.Revived+l.Revived
		b.Deleted, b.Finished = b.Deleted+l.Deleted, b.Finished+l.Finished
	}
	return bounded
}

func boundDurations(all []store.Durations, names *names) []store.Durations {
	for i := range all { // rows of equal names are added where the histograms are made
		all[i].Queue, all[i].Kind = names.queues.name(all[i].Queue), names.kinds.name(all[i].Kind)
	}
	return all
}

func boundQueues(all []store.QueueFigures, names *names) []store.QueueFigures {
	at := make(map[string]int, len(all))
	bounded := all[:0]
	for _, q := range all {
		q.Queue = names.queues.name(q.Queue)
		i, seen := at[q.Queue]
		if !seen {
			at[q.Queue] = len(bounded)
			bounded = append(bounded, q)
			continue
		}
		b := &bounded[i]
		b.Available, b.Scheduled, b.Retryable = b.Available+q.Available, b.Scheduled+q.Scheduled, b.Retryable+q.Retryable
		b.Running, b.Pending = b.Running+q.Running, b.Pending+q.Pending
		b.Oldest, b.Paused = max(b.Oldest, q.Oldest), b.Paused || q.Paused
	}
	return bounded
}
