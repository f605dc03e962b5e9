package pilot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// JSON may hold what jsonb cannot: NUL, half a surrogate pair, numbers out of range. One such error message or output in
// a batch would keep the whole batch from being written, for ever, since River's completer tries again with all of it.

// unstorable reports whether an error is one of the data.
func unstorable(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && strings.HasPrefix(pgErr.Code, "22")
}

// settleCleaned settles after an error of the data: by halves, until the endings that cause it stand alone. Such a one is
// settled with its text cleaned, or else without its metadata and with an error in the job's list that says so.
func (x *Executor) settleCleaned(ctx context.Context, schema string, now *time.Time, endings []ending, cause error) ([]*rivertype.JobRow, error) {
	if n := len(endings); n > 1 {
		rows, err := x.settleSafely(ctx, schema, now, endings[:n/2])
		if err != nil {
			return nil, err
		}
		rest, err := x.settleSafely(ctx, schema, now, endings[n/2:])
		return append(rows, rest...), err
	}
	e := endings[0]
	for _, attempt := range []ending{e.cleaned(), e.withoutMetadata(cause)} {
		rows, err := x.settleWhereverItMay(ctx, schema, now, []ending{attempt})
		if !unstorable(err) {
			return rows, err
		}
	}
	return nil, cause
}

// cleaned replaces in the texts of an ending what cannot be stored.
func (e ending) cleaned() ending {
	e.err, e.merge = cleanJSON(e.err), cleanJSON(e.merge)
	return e
}

// withoutMetadata leaves the metadata of an ending out.
func (e ending) withoutMetadata(cause error) ending {
	var noted rivertype.AttemptError
	if e.err != nil {
		_ = riverdriver.UnmarshalAttemptError([]byte(*e.err), &noted) // what cannot be read is lost either way
	} else {
		noted.At = time.Now()
	}
	noted.Error = strings.TrimSpace(fmt.Sprintf("%s (metadata of this attempt could not be stored: %s)", noted.Error, cause))
	raw, err := json.Marshal(noted)
	if err != nil {
		return e
	}
	e.err, e.merge = cleanJSON(jsonText(raw)), nil
	return e
}

// cleanJSON replaces NUL and halves of surrogate pairs in strings by the replacement character.
func cleanJSON(text *string) *string {
	if text == nil {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(*text)) // decoding replaces the halves
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return text
	}
	var out bytes.Buffer
	if json.NewEncoder(&out).Encode(cleanValue(value)) != nil {
		return text
	}
	return jsonText(out.Bytes())
}

func cleanValue(value any) any {
	switch v := value.(type) {
	case string:
		return strings.ReplaceAll(v, "\x00", "\uFFFD")
	case []any:
		for i := range v {
			v[i] = cleanValue(v[i])
		}
		return v
	case map[string]any:
		clean := make(map[string]any, len(v))
		for key, element := range v {
			clean[strings.ReplaceAll(key, "\x00", "\uFFFD")] = cleanValue(element)
		}
		return clean
	default:
		return v
	}
}
