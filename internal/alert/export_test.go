package alert

import (
	"fmt"

	"github.com/towpath/towpath/internal/store"
)

// BeforeSave has an evaluator call a function between what it has seen and what it writes.
func BeforeSave(e *Evaluator, f func()) { e.beforeSave = f }

// Sort puts a rule and its exceptions in order.
func Sort(e Exceptions) { e.sort() }

// Starving writes down who starves whom: queue/kind and the ratio.
func Starving(activity []store.KindActivity) (found []string) {
	for _, s := range starving(activity) {
		found = append(found, fmt.Sprintf("%s/%s %.0f", s.queue, s.kind, s.ratio()))
	}
	return found
}

// Quantile is the quantile of a histogram.
func Quantile(buckets map[int16]int64, q float64) (float64, bool) {
	return histogram(buckets).quantile(q)
}
