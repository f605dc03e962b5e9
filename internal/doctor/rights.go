package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/towpath/towpath/internal/migrate"
)

// Rights is the check whose one finding is that others were not let in.
const Rights = "rights"

// readByUs are the tables and views that checks read; all else is in the catalog, which everybody may read.
var readByUs = []string{"river_migration", "river_job", "process", "processes", "leader", "fleet"}

// asker is who asks, and who owns the schema: names as SQL writes them.
type asker struct {
	Me    string
	Owner string // empty without a schema
	Owns  bool   // we have the owner's rights
	Ours  bool   // we are one of the roles whose rights the migrations give
}

// introduce finds out who asks.
func (e *examination) introduce(ctx context.Context) error {
	all, err := query[asker](ctx, e, `
		SELECT quote_ident(current_user), coalesce(quote_ident(pg_get_userbyid(n.nspowner)), ''), coalesce(pg_has_role(n.nspowner, 'USAGE'), false),
			current_user IN ('towpath_producer', 'towpath_reader', 'towpath_operator', 'towpath_probe')
		FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1`, migrate.Schema)
	if err != nil {
		return fmt.Errorf("ask who we are: %w", err)
	}
	e.asker = all[0]
	return nil
}

// refuse notes that the check that is looking was not let in.
func (e *examination) refuse(reason string) {
	e.refused = append(e.refused, e.check)
	if !slices.Contains(e.reasons, reason) {
		e.reasons = append(e.reasons, reason)
	}
	e.skip(reason, e.letIn())
}

// skipWithoutSchema says why a check of the schema is not made.
func (e *examination) skipWithoutSchema() {
	if slices.Contains(e.refused, "versions") {
		e.refuse("which migrations the schema " + migrate.Schema + " has may not be read")
		return
	}
	e.skip("the schema "+migrate.Schema+" is not there, or not as this program knows it", "")
}

// letIn is what gives us the rights that we lack. A role of ours is given none beyond those of the migrations, which the
// check of grants would find.
func (e *examination) letIn() string {
	switch who := e.asker; {
	case who.Owner == "" || who.Owns:
		return "give " + who.Me + " the right that the message names, as an administrator of the server"
	case who.Ours:
		return fmt.Sprintf("run it as %s, who owns the schema", who.Owner)
	default:
		return fmt.Sprintf("run it as %s, who owns the schema, or: GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s.%s TO %s;",
			who.Owner, migrate.Schema, who.Me, migrate.Schema, strings.Join(readByUs, ", "+migrate.Schema+"."), who.Me)
	}
}

// findRefusals makes one finding of all checks that were not let in.
func (e *examination) findRefusals() {
	if len(e.refused) == 0 {
		return
	}
	e.check = Rights
	where := "server"
	ofSchema := func(c check) bool {
		return (c.needSchema || c.name == "versions") && slices.Contains(e.refused, c.name)
	}
	if slices.ContainsFunc(checks, ofSchema) {
		where = "schema " + migrate.Schema
	}
	e.find(Warning, fmt.Sprintf("the role %s may not look at %s: %d of %d checks were not made, and what they would find is not known (%s)",
		e.asker.Me, strings.Join(e.refused, ", "), len(e.refused), len(checks), strings.Join(e.reasons, "; ")), where, e.letIn())
}
