package workers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime/pprof"
	"strconv"
	"strings"
)

// Labels of the goroutines that work jobs, also to be seen in profiles.
const (
	labelJob  = "towpath_job_id"
	labelKind = "towpath_kind"
)

// stackLimit bounds what is kept of a handler's stack.
const stackLimit = 8 << 10

// handlerStack returns the stacks of the goroutines that work the job: the handler's, and those that it has started.
// The profile stops the world for a moment, which is cheap enough for something as rare as a stuck job, while asking
// each goroutine for its number at the start of every job is not.
func handlerStack(jobID int64) string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return ""
	}
	label := fmt.Sprintf("%q:%q", labelJob, strconv.FormatInt(jobID, 10))
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
