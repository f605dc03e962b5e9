package main

import (
	"cmp"
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed earthquakes.csv
var feedCSV string // a week of the USGS's feed; see SOURCE.md

// report is one message of the feed: the first about an event, or an update of it.
type report struct {
	event
	at     time.Time
	update bool
}

type event struct {
	id                        string
	happenedAt                time.Time
	magnitude                 *float64 // some have none
	place, network, eventType string
	longitude, latitude       float64
	significance              int
	tsunami                   bool
}

// readFeed takes both reports of every event, in the order of time, and returns the number of events.
func (i *importer) readFeed(text string) (events int, err error) {
	reader := csv.NewReader(strings.NewReader(text))
	reader.FieldsPerRecord = 15 // see parse
	records, err := reader.ReadAll()
	if err != nil {
		return 0, fmt.Errorf("read the feed: %w", err)
	}
	for line, record := range records[1:] {
		first, update, err := parse(record)
		if err != nil {
			return 0, fmt.Errorf("read line %d of the feed: %w", line+2, err)
		}
		i.reports = append(i.reports, first, update)
	}
	slices.SortStableFunc(i.reports, func(a, b report) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) })
	return len(records) - 1, nil
}

// parse reads id, time, updated, magnitude, magnitude_type, place, longitude, latitude, depth_km, network, status,
// event_type, significance, felt_reports, tsunami.
func parse(f []string) (first, update report, err error) {
	number := func(text string) float64 { n, e := strconv.ParseFloat(text, 64); err = cmp.Or(err, e); return n }
	moment := func(text string) time.Time { t, e := time.Parse(time.RFC3339, text); err = cmp.Or(err, e); return t }
	e := event{
		id: f[0], happenedAt: moment(f[1]), place: f[5], longitude: number(f[6]), latitude: number(f[7]),
		network: f[9], eventType: f[11], significance: int(number(f[12])), tsunami: f[14] == "1",
	}
	if f[3] != "" {
		magnitude := number(f[3])
		e.magnitude = &magnitude
	}
	return report{event: e, at: e.happenedAt}, report{event: e, at: moment(f[2]), update: true}, err
}
