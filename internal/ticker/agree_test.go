package ticker_test

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/testdb"
)

// What SQL accepts and refuses, the leader accepts and refuses, with the same message and the same shortest time.
func TestSQLAndLeaderAgree(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	part := `([*?]|[0-9]{1,2}|[0-9]-[0-9]{1,2}|(MON|sun|Jan|DEC|foo))(/[0-9]{1,2})?`
	field := part + `(,` + part + `)?`
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(
			rapid.StringMatching(field+` `+field+` `+field+` `+field+` `+field),
			rapid.StringMatching(`[0-9*] [0-9*] [0-9*] (28|29|30|31|30,31|\*) ([1-9]|2,4|feb|\*) (\*|[0-9]|\*/2)`),
			rapid.StringMatching(`@(every [0-9]{0,3}(h|m|s|ms|x)([0-9]{1,2}s)?|hourly|daily|reboot|weekly)`),
			rapid.StringMatching(`(hourly|daily|weekly|monthly|minutes_interval|seconds_interval|cron|yearly)> ?([0-9]{1,2}:[0-9]{2}(:[0-9]{2})?|(Sun|31|7),[0-9]{2}:[0-9]{2}:[0-9]{2}|[0-9]{1,3})`),
		).Draw(rt, "text")
		var message *string
		var shortest *float64
		if err := tx.QueryRow(t.Context(), `SELECT fault[2], shortest FROM towpath.read_expression($1)`, text).Scan(&message, &shortest); err != nil {
			rt.Fatal(err)
		}
		e, err := schedule.Parse(text, "")
		switch {
		case err == nil && message != nil:
			rt.Fatalf("%q: SQL refuses it: %s", text, *message)
		case err != nil && message == nil:
			rt.Fatalf("%q: the leader refuses it: %s", text, err)
		case err == nil && e.Shortest().Seconds() != *shortest:
			rt.Fatalf("%q: %s is not %g", text, e.Shortest(), *shortest)
		}
		if fault, ok := errors.AsType[*schedule.Error](err); err != nil && (!ok || fault.Field != "expression") {
			rt.Fatal(fmt.Sprint(err))
		}
	})
}
