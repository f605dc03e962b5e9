// Package probe runs probes: named queries whose numbers are kept as series, and pairs of queries whose rows are compared.
//
// # Contract
//
//   - A query runs in a transaction that only reads, with a limit of time and of rows, on a connection of its own that is
//     closed afterwards.
//   - It runs as a role of the database: inside a function that this role owns, so that it cannot step out of it, nor end
//     its transaction, nor be followed by another statement. Without a role it runs as the login, which then has to be one
//     with no other rights (Config.URL).
//   - Columns of numbers give values; the others, or the key columns, name the series. What gives no series is an error
//     that says so, never a gap.
//   - An empty source is no zero: it is an outcome of its own, and nothing is kept.
//   - A run is taken by one leader and counts once (towpath.claim_probes, finish_probe). So many run at the same time, and
//     each ends in its time, so that a slow one holds up neither the others nor the leader's other work.
//   - What nobody ran for two intervals is stale: the view says so at once, the leader notes it.
package probe

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/towpath/towpath/internal/store"
)

// What a run comes to.
const (
	OK     = "ok"
	Beyond = "beyond"
	Empty  = "empty"
	Failed = "failed"
)

// Statuses are the words of the view towpath.probes.
func Statuses() []string {
	return []string{"pending", OK, Beyond, Empty, Failed, "stale", "paused"}
}

// Definition is what the database keeps of a probe, complete with its defaults. Lengths of time are seconds.
type Definition struct {
	Query       string   `json:"query"`
	CompareWith string   `json:"compare_with"`
	Every       float64  `json:"every"`
	Timeout     float64  `json:"timeout"`
	Role        string   `json:"role"`
	KeyColumns  []string `json:"key_columns"`
	EmptyIsFine bool     `json:"empty_is_fine"`
	AlertAbove  *float64 `json:"alert_above"`
	AlertBelow  *float64 `json:"alert_below"`
	Examples    int      `json:"examples"`
}

// Read reads a definition.
func Read(document json.RawMessage) (*Definition, error) {
	d := &Definition{}
	if err := json.Unmarshal(document, d); err != nil {
		return nil, fmt.Errorf("read the definition: %w", err)
	}
	return d, nil
}

func (d *Definition) timeout() time.Duration { return time.Duration(d.Timeout * float64(time.Second)) }

// failed is the end of a run that gave nothing.
func failed(err error) store.ProbeEnd {
	return store.ProbeEnd{Outcome: Failed, Detail: cut(err.Error(), 2000)}
}

// cut shortens a text for people.
func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
