package probe

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/towpath/towpath/internal/store"
)

// judge says whether values are within a probe's limits. Of those beyond, the farthest is told, and how many others there
// are; of values within, the only one.
func judge(d *Definition, values map[string]float64) store.ProbeEnd {
	var (
		worst  string
		far    float64
		beyond int
	)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		off := 0.0
		switch value := values[name]; {
		case d.AlertAbove != nil && value > *d.AlertAbove:
			off = value - *d.AlertAbove
		case d.AlertBelow != nil && value < *d.AlertBelow:
			off = *d.AlertBelow - value
		default:
			continue
		}
		if beyond++; off > far || beyond == 1 {
			worst, far = name, off
		}
	}
	if beyond == 0 {
		end := store.ProbeEnd{Outcome: OK}
		if len(values) == 1 {
			for _, value := range values {
				end.Value = &value
			}
		}
		return end
	}
	value := values[worst]
	limit := "below " + number(d.AlertBelow)
	if d.AlertAbove != nil && value > *d.AlertAbove {
		limit = "above " + number(d.AlertAbove)
	}
	detail := fmt.Sprintf("%s is %s, %s", worst, number(&value), limit)
	if beyond > 1 {
		detail += fmt.Sprintf("; with it %d more are beyond", beyond-1)
	}
	return store.ProbeEnd{Outcome: Beyond, Detail: detail, Value: &value}
}

// number prints a number as people write it.
func number(n *float64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatFloat(*n, 'g', 12, 64)
}
