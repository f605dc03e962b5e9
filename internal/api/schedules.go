package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

const (
	// mostBody is the size of a request's body at most.
	mostBody = 128 << 10
	// defaultPage and mostPage are how many a list shows.
	defaultPage = 100
	mostPage    = 1000
	// answerLimit bounds one request.
	answerLimit = 15 * time.Second
	// actorHeader names who asks, for the audit.
	actorHeader = "Towpath-Actor"
	mostActor   = 100
)

// SchedulesConfig says what serves schedules.
type SchedulesConfig struct {
	Database interface {
		store.DB
		Begin(ctx context.Context) (pgx.Tx, error)
	}
	Token  string // who has it may do all of this
	Logger *slog.Logger
}

// Schedules returns the routes by which programs look at schedules and change them, as JSON and with an
// Authorization header of "Bearer TOKEN":
//
//	GET    /api/schedules?status=&after=&limit=   a page
//	GET    /api/schedules/NAME                    one
//	GET    /api/schedules/NAME/runs?limit=        its last runs
//	GET    /api/schedules/NAME/next?limit=        its next ones
//	PUT    /api/schedules/NAME                    define it; the body has the parameters of towpath.put_schedule,
//	                                              lengths of time in seconds
//	DELETE /api/schedules/NAME
//	POST   /api/schedules/NAME/pause              {"reason": …}
//	POST   /api/schedules/NAME/resume, /revert, /run
//	POST   /api/schedules/NAME/skip               {"until": …}
//	POST   /api/schedules/NAME/backfill           {"from": …, "to": …, "at_once": 1, "dry_run": false}
//	GET    /api/backfills?after=&limit=           a page of backfills
//	DELETE /api/backfills/N                       end one
//
// An error is {"error": …, "hint": …}: 400 for what was wrongly asked for, 401 without the token, 404 for a schedule or a path that
// does not exist, 405 for another method, 409 for what cannot be done to it, 503 when the database cannot be asked.
func Schedules(config SchedulesConfig) []Route {
	s := &schedules{config: config, token: sha256.Sum256([]byte(config.Token))}
	var routes []Route
	methods := map[string][]string{}
	add := func(pattern string, answer func(r *http.Request, name string) (any, error)) {
		routes = append(routes, Route{Pattern: pattern, Handler: s.serve(answer)})
		method, path, _ := strings.Cut(pattern, " ")
		if methods[path] = append(methods[path], method); method == http.MethodGet {
			methods[path] = append(methods[path], http.MethodHead)
		}
	}
	add("GET /api/schedules", s.list)
	add("GET /api/schedules/{name}", s.show)
	add("GET /api/schedules/{name}/runs", s.runs)
	add("GET /api/schedules/{name}/next", s.next)
	add("PUT /api/schedules/{name}", s.put)
	add("DELETE /api/schedules/{name}", s.delete)
	add("POST /api/schedules/{name}/pause", s.pause)
	add("POST /api/schedules/{name}/resume", s.resume)
	add("POST /api/schedules/{name}/revert", s.revert)
	add("POST /api/schedules/{name}/run", s.run)
	add("POST /api/schedules/{name}/skip", s.skip)
	add("POST /api/schedules/{name}/backfill", s.backfill)
	add("GET /api/backfills", s.backfills)
	add("DELETE /api/backfills/{name}", s.endBackfill)
	// The multiplexer would answer these in plain text.
	for path, allowed := range methods {
		slices.Sort(allowed)
		routes = append(routes, Route{Pattern: path, Handler: s.serve(otherMethod(strings.Join(allowed, ", ")))})
	}
	const behindName = "Behind a name comes nothing, or one of runs, next, pause, resume, revert, run, skip and backfill; a slash in a name is written %2F."
	return append(routes, Route{Pattern: "/api/schedules/", Handler: s.serve(nowhere(behindName))},
		Route{Pattern: "/api/backfills/", Handler: s.serve(nowhere("Behind a backfill's number comes nothing."))})
}

// otherMethod answers those who come with a method that a path does not have.
func otherMethod(allowed string) func(r *http.Request, _ string) (any, error) {
	return func(r *http.Request, _ string) (any, error) {
		return nil, (&problem{
			status: http.StatusMethodNotAllowed, allow: allowed, Error: fmt.Sprintf("%s is not for %s", r.Method, r.URL.EscapedPath()),
			Hint: fmt.Sprintf("It takes %s.", allowed),
		}).error()
	}
}

// nowhere answers those who ask for a path that is none.
func nowhere(hint string) func(r *http.Request, _ string) (any, error) {
	return func(r *http.Request, _ string) (any, error) {
		return nil, (&problem{status: http.StatusNotFound, Error: "there is nothing at " + r.URL.EscapedPath(), Hint: hint}).error()
	}
}

type schedules struct {
	config SchedulesConfig
	token  [sha256.Size]byte
}

// problem is an answer that is an error.
type problem struct {
	status int
	allow  string // the methods that there are, where another was used
	Error  string `json:"error"`
	Hint   string `json:"hint,omitempty"`
}

func (p *problem) error() error { return &problemError{p} }

type problemError struct{ problem *problem }

func (e *problemError) Error() string { return e.problem.Error }

func badRequest(format string, args ...any) error {
	return (&problem{status: http.StatusBadRequest, Error: fmt.Errorf(format, args...).Error()}).error()
}

// serve answers those who have the token.
func (s *schedules) serve(answer func(r *http.Request, name string) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.allowed(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeJSON(w, http.StatusUnauthorized, problem{Error: "the token is missing or wrong", Hint: "Send the header Authorization: Bearer TOKEN, with the value of TOWPATH_API_TOKEN."})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), answerLimit)
		defer cancel()
		result, err := answer(r.WithContext(ctx), r.PathValue("name"))
		if err != nil {
			p := s.problem(ctx, r.PathValue("name"), err)
			if p.allow != "" {
				w.Header().Set("Allow", p.allow)
			}
			writeJSON(w, p.status, p)
			return
		}
		writeJSON(w, http.StatusOK, result)
	})
}

// allowed compares hashes, so that the time tells nothing of the token, its length included.
func (s *schedules) allowed(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && s.config.Token != "" && subtle.ConstantTimeCompare(given[:], s.token[:]) == 1
}

// problem says what an error is to the one who asked.
func (s *schedules) problem(ctx context.Context, name string, err error) *problem {
	if told, ok := errors.AsType[*problemError](err); ok {
		return told.problem
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return &problem{status: http.StatusNotFound, Error: fmt.Sprintf("schedule %q does not exist", name)}
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		status := map[string]int{"22023": http.StatusBadRequest, "22P02": http.StatusBadRequest, "55000": http.StatusConflict, "P0002": http.StatusNotFound}[pgErr.Code]
		if status != 0 {
			return &problem{status: status, Error: pgErr.Message, Hint: pgErr.Hint}
		}
	}
	s.config.Logger.ErrorContext(ctx, "answer a request for schedules", slog.Any("error", err))
	return &problem{status: http.StatusServiceUnavailable, Error: "the database cannot be asked", Hint: "Try again; the log of the process says why."}
}

// limit reads how many a list is to show.
func limit(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostPage {
		return 0, badRequest("limit %q: give a number from 1 to %d", text, mostPage)
	}
	return n, nil
}

func (s *schedules) list(r *http.Request, _ string) (any, error) {
	most, err := limit(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	for _, status := range query["status"] {
		if !slices.Contains(schedule.Statuses(), schedule.Status(status)) {
			return nil, badRequest("status %q: there is no such status; choose from ok, late, missed, failed, too_long, paused", status)
		}
	}
	found, err := store.ListSchedules(r.Context(), s.config.Database, query["status"], query.Get("after"), most+1)
	if err != nil {
		return nil, err
	}
	page := view.SchedulePage{}
	if len(found) > most {
		found = found[:most]
		page.Next = &found[most-1].Name
	}
	page.Schedules = make([]view.Schedule, len(found))
	for i := range found {
		page.Schedules[i] = view.OfSchedule(&found[i])
	}
	return page, nil
}

func (s *schedules) show(r *http.Request, name string) (any, error) {
	found, err := store.FindSchedule(r.Context(), s.config.Database, name)
	if err != nil {
		return nil, err
	}
	return view.OfSchedule(found), nil
}

func (s *schedules) runs(r *http.Request, name string) (any, error) {
	most, err := limit(r)
	if err != nil {
		return nil, err
	}
	if _, err := store.FindSchedule(r.Context(), s.config.Database, name); err != nil {
		return nil, err
	}
	found, err := store.ListScheduleRuns(r.Context(), s.config.Database, name, most)
	if err != nil {
		return nil, err
	}
	runs := make([]view.ScheduleRun, len(found))
	for i := range found {
		runs[i] = view.OfScheduleRun(&found[i])
	}
	return map[string]any{"name": name, "runs": runs}, nil
}

// change does something in a transaction, in which the audit knows who asked.
func (s *schedules) change(r *http.Request, do func(ctx context.Context, tx pgx.Tx) (any, error)) (result any, err error) {
	actor := r.Header.Get(actorHeader)
	if len(actor) > mostActor {
		return nil, badRequest("%s has %d characters; shorten it to %d", actorHeader, len(actor), mostActor)
	}
	if actor == "" {
		actor = "HTTP API"
	}
	err = pgx.BeginFunc(r.Context(), s.config.Database, func(tx pgx.Tx) error {
		if _, err := tx.Exec(r.Context(), "SELECT set_config('towpath.actor', $1, true)", actor); err != nil {
			return fmt.Errorf("note who asks: %w", err)
		}
		result, err = do(r.Context(), tx)
		return err
	})
	return result, err
}

// body reads a JSON object such as an example, or nothing where there is none and it may be left out.
func body(r *http.Request, example string) (json.RawMessage, error) {
	text, err := io.ReadAll(io.LimitReader(r.Body, mostBody+1))
	switch {
	case err != nil:
		return nil, badRequest("read the body: %v", err)
	case len(text) > mostBody:
		return nil, (&problem{status: http.StatusRequestEntityTooLarge, Error: fmt.Sprintf("the body is larger than %d bytes", mostBody)}).error()
	case len(text) == 0 && example == "":
		return json.RawMessage("{}"), nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		return nil, badRequest("the body is no JSON object; send one%s", cmp.Or(example, ", or nothing"))
	}
	return text, nil
}

// decode refuses what it does not know, such as a property that is misspelt, which the database would pass over.
func decode(text json.RawMessage, into any) error {
	known := json.NewDecoder(bytes.NewReader(text))
	known.DisallowUnknownFields()
	err := known.Decode(into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return fmt.Errorf("%s cannot be a %s", wrong.Field, wrong.Value)
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func (s *schedules) put(r *http.Request, name string) (any, error) {
	definition, err := body(r, ` such as {"expression": "0 6 * * MON", "kind": "report.digest"}`)
	if err != nil {
		return nil, err
	}
	if err := decode(definition, &schedule.Definition{}); err != nil {
		return nil, badRequest("the definition: %w; its properties are the parameters of towpath.put_schedule, with lengths of time in seconds", err)
	}
	return s.change(r, func(ctx context.Context, tx pgx.Tx) (any, error) {
		changed, err := store.DefineSchedule(ctx, tx, name, definition)
		return map[string]any{"name": name, "changed": changed}, err
	})
}

func (s *schedules) delete(r *http.Request, name string) (any, error) {
	return s.change(r, func(ctx context.Context, tx pgx.Tx) (any, error) {
		return map[string]any{"name": name, "changed": true}, store.DeleteSchedule(ctx, tx, name)
	})
}

func (s *schedules) pause(r *http.Request, name string) (any, error) {
	text, err := body(r, "")
	if err != nil {
		return nil, err
	}
	var asked struct {
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(text, &asked); err != nil {
		return nil, badRequest("reason: give a text")
	}
	return s.change(r, func(ctx context.Context, tx pgx.Tx) (any, error) {
		changed, err := store.PauseSchedule(ctx, tx, name, asked.Reason)
		return map[string]any{"name": name, "changed": changed}, err
	})
}

func (s *schedules) resume(r *http.Request, name string) (any, error) {
	return s.change(r, func(ctx context.Context, tx pgx.Tx) (any, error) {
		changed, err := store.ResumeSchedule(ctx, tx, name)
		return map[string]any{"name": name, "changed": changed}, err
	})
}

func (s *schedules) revert(r *http.Request, name string) (any, error) {
	return s.change(r, func(ctx context.Context, tx pgx.Tx) (any, error) {
		changed, err := store.RevertSchedule(ctx, tx, name)
		return map[string]any{"name": name, "changed": changed}, err
	})
}

func (s *schedules) run(r *http.Request, name string) (any, error) {
	return s.change(r, func(ctx context.Context, tx pgx.Tx) (any, error) {
		n, job, err := store.RunSchedule(ctx, tx, name)
		return map[string]any{"name": name, "run": n, "job_id": job}, err
	})
}

func (s *schedules) skip(r *http.Request, name string) (any, error) {
	text, err := body(r, "")
	if err != nil {
		return nil, err
	}
	var asked struct {
		Until *time.Time `json:"until"`
	}
	if err := json.Unmarshal(text, &asked); err != nil {
		return nil, badRequest("until: give a moment such as 2099-12-27T00:00:00+01:00")
	}
	return s.change(r, func(ctx context.Context, tx pgx.Tx) (any, error) {
		skipped, err := store.SkipSchedule(ctx, tx, name, asked.Until)
		return map[string]any{"name": name, "skipped": skipped}, err
	})
}
