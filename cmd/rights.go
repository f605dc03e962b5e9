package cmd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
)

// The roles that the migrations make, and what they are for.
const (
	roleProducer = "towpath_producer"
	roleReader   = "towpath_reader"
	roleOperator = "towpath_operator"
)

// roleKey is the annotation of a command that names the role it needs.
const roleKey = "towpath_role"

// needs notes which role a command needs, for its help, and makes what the database answers an error for people.
func (p *Program) needs(c *cobra.Command, role string) *cobra.Command {
	reads(c, config.GroupDatabase)
	c.Annotations[roleKey] = role
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.explain(run(c, args), role)
	}
	return c
}

// explain says what an answer of the database means for who asked: rights that are missing, a schema that is older, or
// what a function of ours refused, in its own words.
func (p *Program) explain(err error, role string) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if _, told := errors.AsType[*answerError](err); !ok || told {
		return err
	}
	switch code := pgErr.Code; {
	case code == "42501":
		return fmt.Errorf("%w; this needs the role %s, as in GRANT %s TO %s", err, role, role, p.user())
	case code == "3F000", code == "42P01", code == "42883", code == "42703":
		return fmt.Errorf("the database's schema is older than this program, or not there: %w; run `%s migrate up`", err, p.name)
	case strings.HasPrefix(code, "22"), code == "P0002", code == "55006", code == "23505":
		return &answerError{pgErr}
	}
	return err
}

// user is whom we are to the database, as GRANT would name it.
func (p *Program) user() string {
	if p.pool == nil {
		return "your login"
	}
	return pgx.Identifier{p.pool.Config().ConnConfig.User}.Sanitize()
}

// answerError is what a function of the database refused: its message, then its hint.
type answerError struct{ *pgconn.PgError }

// Error implements error.
func (e *answerError) Error() string {
	text := strings.TrimSuffix(e.Message, ".")
	for _, more := range []string{e.Hint, e.Detail} {
		if more != "" {
			return text + ". " + strings.ReplaceAll(more, "\n", " ")
		}
	}
	return text
}

// Unwrap returns the database's error.
func (e *answerError) Unwrap() error { return e.PgError }
