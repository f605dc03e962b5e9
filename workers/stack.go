package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Labels of the goroutines that work jobs, also to be seen in profiles.
const (
	labelKind = "towpath_kind"
	labelSeat = "towpath_seat"
)

// stackLimit bounds what is kept of a handler's stack.
const stackLimit = 8 << 10

// stackRoom is what a job's goroutine needs of stack at the least, with River's layers inside ours.
const stackRoom = 6 << 10

// growStack gives the calling goroutine's stack that much room at once: each job has a new one of 2 KB, and a stack is
// copied frame by frame when it grows, so that to grow once before there are many frames is cheaper than to do so twice
// among them. The room is asked for when the function is entered; it is never used.
//
//go:noinline
func growStack(use bool) byte {
	if !use {
		return 0
	}
	var room [stackRoom]byte
	for i := range room {
		room[i] = byte(i)
	}
	return room[seatNumber.Load()%stackRoom]
}

// A seat is what a running attempt sits on: labels that tell its goroutine, and those that it starts, from others, in
// profiles and when one of them is stuck. Seats are used again, since making labels for each job costs more than most of
// what is done for it.
type seat struct {
	number string
	labels context.Context
}

// seats are those of one kind in one client.
type seats struct {
	kind string
	mu   sync.Mutex
	free []*seat
}

// seatNumber is the last seat's, in the whole process.
var seatNumber atomic.Int64

// take returns a free seat. The context is that of a job: labels that the client was started with stay.
func (s *seats) take(ctx context.Context) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.free) - 1; last >= 0 {
		taken := s.free[last]
		s.free = s.free[:last]
		return taken
	}
	number := strconv.FormatInt(seatNumber.Add(1), 10)
	labels := []string{labelKind, s.kind, labelSeat, number}
	pprof.ForLabels(ctx, func(key, value string) bool {
		labels = append(labels, key, value)
		return true
	})
	return &seat{number: number, labels: pprof.WithLabels(context.Background(), pprof.Labels(labels...))}
}

func (s *seats) giveBack(taken *seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, taken)
}

// label gives the calling goroutine the seat's labels.
func (s *seat) label() { pprof.SetGoroutineLabels(s.labels) }

// stack returns the stacks of the goroutines on the seat: the handler's, and those that it has started. The profile stops
// the world for a moment, which is cheap enough for something as rare as a stuck job, while asking each goroutine for its
// number at the start of every job is not.
func (s *seat) stack() string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return ""
	}
	label := fmt.Sprintf("%q:%q", labelSeat, s.number)
	var stacks strings.Builder
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		if !strings.Contains(record, label) {
			continue
		}
		for line := range strings.Lines(record) {
			if frame, ok := strings.CutPrefix(line, "#\t"); ok && !strings.HasPrefix(line, "# labels") {
				stacks.WriteString(frame)
			}
		}
		stacks.WriteString("\n")
	}
	text := stacks.String()
	return strings.TrimRight(text[:min(len(text), stackLimit)], "\n")
}

// stackAttrs is the stack as attributes of an event.
func stackAttrs(stack string) string {
	if stack == "" {
		return ""
	}
	encoded, err := json.Marshal(map[string]string{"stack": stack})
	if err != nil {
		return ""
	}
	return string(encoded)
}
