package schedule

import (
	"bytes"
	"encoding/json"
	"time"
)

// tickKey is the property of a job's metadata that names the schedule; towpath:tick beside it is the tick.
const tickKey = `"towpath:schedule"`

// TickOf reads from a job's metadata which schedule enqueued it, and for which tick; ok is false for a job that none did.
// Most jobs are that, so the metadata is only decoded when it has the key.
func TickOf(metadata []byte) (name string, tick time.Time, ok bool) {
	if !bytes.Contains(metadata, []byte(tickKey)) {
		return "", time.Time{}, false
	}
	var found struct {
		Schedule string    `json:"towpath:schedule"`
		Tick     time.Time `json:"towpath:tick"`
	}
	if json.Unmarshal(metadata, &found) != nil || found.Schedule == "" {
		return "", time.Time{}, false
	}
	return found.Schedule, found.Tick, true
}
