package doctor

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/towpath/towpath/internal/migrate"
)

// grantKind is the kind of facts that are rights.
const grantKind = "grant"

//go:embed grants.sql
var grantsSQL string

// lookAtGrants compares the rights of our roles, and of everybody, with what the migrations grant. Roles belong to the
// server, and an owner may not be allowed to create them, so that a missing one is a note.
func lookAtGrants(ctx context.Context, e *examination) error {
	var missing []string
	err := e.pool.QueryRow(ctx, `
		SELECT coalesce(array_agg(name), '{}') FROM unnest(ARRAY['towpath_producer', 'towpath_reader', 'towpath_operator', 'towpath_probe']) name
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name)`).Scan(&missing)
	if err != nil {
		return err
	}
	for _, role := range missing {
		e.find(Note, fmt.Sprintf("the role %s does not exist, so that nobody can be given just its rights", role), "server",
			fmt.Sprintf("CREATE ROLE %s;   -- as an administrator; then, as the owner: SELECT %s.grant_roles();", role, migrate.Schema))
	}
	if e.schema.State != migrate.Current {
		return nil
	}
	want, err := expected()
	if err != nil {
		return err
	}
	have, err := factsOf(ctx, e.pool)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, f := range have {
		known[f.Kind+" "+f.Name] = f.Kind != grantKind
	}
	for _, d := range compare(want, have, func(kind string) bool { return kind == grantKind }) {
		e.findGrant(d, missing, known)
	}
	return nil
}

func (e *examination) findGrant(d difference, missing []string, known map[string]bool) {
	f := d.want
	if f == nil {
		f = d.have
	}
	right, grantee, _ := strings.Cut(f.Name, " TO ")
	_, object, _ := strings.Cut(right, " ON ")
	if slices.Contains(missing, grantee) {
		return
	}
	// An object that is missing, or not ours, was told by the check "schema".
	kind, name, _ := strings.Cut(object, " ")
	bare := strings.TrimPrefix(name, migrate.Schema+".")
	if (kind == "FUNCTION" && !known["function "+name]) || (kind == "TABLE" && !known["table "+bare] && !known["view "+bare]) {
		return
	}
	if d.have == nil {
		e.findSQL(Warning, fmt.Sprintf("%s lacks the right %s", grantee, right), object, "GRANT "+f.Name+";")
		return
	}
	severity := Warning
	if kind == "FUNCTION" && !expects("function", name) {
		severity = Note // everybody may call a new function of yours, unless you say otherwise
	}
	e.findSQL(severity, fmt.Sprintf("%s has the right %s, which it should not", grantee, right), object, "REVOKE "+right+" FROM "+grantee+";")
}
