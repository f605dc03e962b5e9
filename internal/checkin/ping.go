package checkin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/towpath/towpath/internal/store"
)

// BodyMax is how much of a ping's body is kept, in bytes.
const BodyMax = 10_000

// keptPings is how many pings of a check are kept at most; trimEvery is after how many of them that is seen to.
const (
	keptPings = 1000
	trimEvery = 50
)

// ErrUnknown is returned for a key or a name that no check has.
var ErrUnknown = errors.New("there is no such check")

// A Target says which check is meant.
type Target struct {
	Key  string
	Name string // when there is no key
}

// Beginner opens transactions.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// TakePing enters a ping into the database. The row of its check is locked meanwhile, so that pings that come at once are
// entered one after the other.
func TakePing(ctx context.Context, db Beginner, target Target, p Ping) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		h, now, err := store.LockHeartbeat(ctx, tx, target.Key, target.Name)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrUnknown
		}
		if err != nil {
			return err
		}
		return enter(ctx, tx, h, p, now)
	})
}

// enter enters a ping of a locked check.
func enter(ctx context.Context, tx pgx.Tx, h *store.Heartbeat, p Ping, now time.Time) error {
	// Nothing happens before what is known already, whatever the clock says.
	if h.LastPingAt != nil && now.Before(*h.LastPingAt) {
		now = *h.LastPingAt
	}
	if h.ExpectedBy == nil && h.Problem == nil {
		plan(h)
	}
	events := settle(h, h.StatusSince, now)
	took := take(h, p, now)
	events = append(events, settle(h, now, now)...)
	if err := save(ctx, tx, h, events); err != nil {
		return err
	}
	body, length := cut(p.Body), max(p.BodyBytes, int64(len(p.Body)))
	err := store.InsertHeartbeatPing(ctx, tx, store.HeartbeatPing{
		HeartbeatID: h.ID, At: now, Kind: p.Kind, ExitStatus: small(p.ExitStatus), RunID: orNil(clean(p.RunID)), Duration: took,
		Source: clean(p.Source), Body: orNil(body), BodyBytes: length,
	})
	if err != nil || h.Pings%trimEvery != 0 {
		return err
	}
	return store.TrimHeartbeatPings(ctx, tx, h.ID, keptPings)
}

// save writes what is kept of a check, and its changes.
func save(ctx context.Context, tx pgx.Tx, h *store.Heartbeat, events []Event) error {
	if err := store.SaveHeartbeat(ctx, tx, h); err != nil {
		return err
	}
	for _, event := range events {
		if err := store.InsertHeartbeatEvent(ctx, tx, h.ID, event.At, string(event.Status), string(event.Was)); err != nil {
			return err
		}
	}
	return nil
}

func small(status *int) *int16 {
	if status == nil {
		return nil
	}
	n := int16(*status) //nolint:gosec // 0 to 255
	return &n
}

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// clean makes text that Postgres takes.
func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
}

// cut keeps the beginning of a body.
func cut(body string) string {
	if len(body) > BodyMax {
		body = strings.ToValidUTF8(body[:BodyMax], "")
	}
	return clean(body)
}

// What is said of a check that comes to be with its first ping.
const (
	createdPeriod = 24 * time.Hour
	createdGrace  = time.Hour
	// maxChecks bounds how many there may be for one more to come to be by itself.
	maxChecks = 1000
)

// errTooMany is returned when no more checks are made by pings.
var errTooMany = fmt.Errorf("there are %d checks already, and no more are made by pings", maxChecks)

// create makes a check for its first ping, unless somebody has just done so.
func create(ctx context.Context, db Beginner, name string) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		n, err := store.CountHeartbeats(ctx, tx)
		if err != nil {
			return err
		}
		if n >= maxChecks {
			return errTooMany
		}
		return store.CreateHeartbeat(ctx, tx, name, createdPeriod, createdGrace)
	})
}

// nameFits reports whether a check may be called so; check_fault in SQL has the words for it.
func nameFits(name string) bool {
	if name == "" || len(name) > 100 || name == Start || name == Fail || name == Log {
		return false
	}
	digits := true
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		digit := r >= '0' && r <= '9'
		if !letter && !digit && (r != '.' && r != '-' || i == 0 || i == len(name)-1) {
			return false
		}
		digits = digits && digit
	}
	return !digits
}
