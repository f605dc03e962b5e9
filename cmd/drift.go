package cmd

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/towpath/towpath/internal/store"
)

// driftView is what has started of a queue and a kind and did not come to its end, or not to a good one. Zero is fine.
type driftView struct {
	Queue       string `json:"queue" about:"the queue"`
	Kind        string `json:"kind" about:"the kind"`
	Started     int64  `json:"started" about:"attempts that have started, since the beginning"`
	Finished    int64  `json:"finished" about:"attempts that have ended, however"`
	Succeeded   int64  `json:"succeeded" about:"jobs that succeeded"`
	Unfinished  int64  `json:"unfinished" about:"started - finished: attempts that are under way, or stuck"`
	Unsucceeded int64  `json:"unsucceeded" about:"started - succeeded: what is under way, and what failed or was put off"`
}

// drift reads what has drifted, the most unfinished first.
func drift(ctx context.Context, db store.DB) ([]driftView, error) {
	all, err := store.Lifecycles(ctx, db)
	if err != nil {
		return nil, err
	}
	var views []driftView
	for _, l := range all {
		view := driftView{
			Queue: l.Queue, Kind: l.Kind, Started: l.Started, Finished: l.Finished, Succeeded: l.Succeeded,
			Unfinished: l.Started - l.Finished, Unsucceeded: l.Started - l.Succeeded,
		}
		if view.Unfinished != 0 || view.Unsucceeded != 0 {
			views = append(views, view)
		}
	}
	slices.SortFunc(views, func(a, b driftView) int {
		return cmp.Or(cmp.Compare(b.Unfinished, a.Unfinished), cmp.Compare(b.Unsucceeded, a.Unsucceeded), cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Kind, b.Kind))
	})
	return views, nil
}

func driftTable(drift []driftView) (header []string, rows [][]string) {
	for _, d := range drift {
		rows = append(rows, []string{
			cell(d.Kind, 40), cell(d.Queue, 24), strconv.FormatInt(d.Started, 10), strconv.FormatInt(d.Finished, 10), strconv.FormatInt(d.Succeeded, 10),
			strconv.FormatInt(d.Unfinished, 10), strconv.FormatInt(d.Unsucceeded, 10),
		})
	}
	return []string{"KIND", "QUEUE", "STARTED", "FINISHED", "SUCCEEDED", "UNFINISHED", "UNSUCCEEDED"}, rows
}
