package doctor

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/migrate"
)

// lookAtSchema compares what the schema has with what the migrations make. A schema that is newer than this program is
// left to the newer program.
func lookAtSchema(ctx context.Context, e *examination) error {
	if e.schema.State == migrate.Newer {
		e.skip("the schema is newer than this program and can be compared by the newer one only", "")
		return nil
	}
	differences, err := differencesOf(ctx, e.pool, func(kind string) bool { return kind != grantKind && kind != constraintKind })
	if err != nil {
		return err
	}
	for _, d := range differences {
		e.findDifference(d)
	}
	return e.lookAtIndexes(ctx)
}

// Missing returns the tables, columns, views and functions that a migrated schema has to have and does not, as a word and a
// name each. There are some where another build of the program has applied migrations of the same numbers.
func Missing(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	differences, err := differencesOf(ctx, pool, func(kind string) bool { return slices.Contains([]string{"table", "column", "view", "function"}, kind) })
	var missing []string
	for _, d := range differences {
		if d.have == nil {
			missing = append(missing, d.want.Kind+" "+d.want.Name)
		}
	}
	return missing, err
}

// differencesOf compares a database with what the migrations make.
func differencesOf(ctx context.Context, pool *pgxpool.Pool, asked func(kind string) bool) ([]difference, error) {
	want, err := expected()
	if err != nil {
		return nil, err
	}
	have, err := factsOf(ctx, pool)
	if err != nil {
		return nil, err
	}
	return compare(want, have, asked), nil
}

// difference is a fact that is missing (have nil), changed (both), or unexpected (want nil).
type difference struct{ want, have *fact }

// compare returns the differences of the kinds that are asked for, in order. Of an object that is missing or unexpected
// as a whole, its parts are not told.
func compare(want, have []fact, asked func(kind string) bool) []difference {
	type key struct{ kind, name string }
	index := func(facts []fact) map[key]*fact {
		all := make(map[key]*fact, len(facts))
		for i := range facts {
			all[key{facts[i].Kind, facts[i].Name}] = &facts[i]
		}
		return all
	}
	wanted, there := index(want), index(have)
	whole := func(facts map[key]*fact, name string) bool {
		relation, _, part := strings.Cut(name, ".")
		return !part || facts[key{"table", relation}] != nil || facts[key{"view", relation}] != nil
	}
	var found []difference
	for i := range want {
		f := &want[i]
		other := there[key{f.Kind, f.Name}]
		if asked(f.Kind) && (other == nil || !same(f, other)) && (f.Kind == "function" || f.Kind == grantKind || whole(there, f.Name)) {
			found = append(found, difference{f, other})
		}
	}
	for i := range have {
		f := &have[i]
		if asked(f.Kind) && wanted[key{f.Kind, f.Name}] == nil && (f.Kind == "function" || f.Kind == grantKind || whole(wanted, f.Name)) {
			found = append(found, difference{nil, f})
		}
	}
	return found
}

// qualifier is the name of a table or schema before another name. Whether a view's columns bear one depends on the
// version of Postgres; nothing else in our definitions does.
var qualifier = regexp.MustCompile(`\b[a-z_][a-z0-9_]*\.`)

// same compares definitions.
func same(a, b *fact) bool {
	plain := func(f *fact) string {
		text := strings.Join(strings.Fields(f.Definition), " ")
		if f.Kind == "view" {
			text = qualifier.ReplaceAllString(text, "")
		}
		return text
	}
	return plain(a) == plain(b)
}

// findDifference tells one difference and what makes it whole.
func (e *examination) findDifference(d difference) {
	switch {
	case d.want == nil && d.have.Kind == "option": // yours to set
	case d.want != nil && d.want.Kind == "option":
		have := "not set"
		if d.have != nil {
			have = d.have.Definition
		}
		e.findSQL(Note, fmt.Sprintf("the option %s is %s; ours is %s", d.want.Name, have, d.want.Definition), qualified(d.want), e.repair(d.want))
	case d.have == nil:
		e.findSQL(Fault, fmt.Sprintf("the %s %s is missing", d.want.Kind, d.want.Name), qualified(d.want), e.repair(d.want))
	case d.want != nil:
		e.findSQL(Fault, fmt.Sprintf("the %s %s was changed: %s, not %s", d.want.Kind, d.want.Name, short(d.have.Definition), short(d.want.Definition)),
			qualified(d.want), e.repair(d.want))
	case d.have.Kind == "trigger":
		table, name, _ := strings.Cut(d.have.Name, ".")
		e.findSQL(Warning, fmt.Sprintf("the trigger %s is not ours; every job pays for it, and an error in it keeps jobs from starting or ending", d.have.Name),
			qualified(d.have), fmt.Sprintf("DROP TRIGGER %s ON %s;", ident(name), ident(migrate.Schema, table)))
	default:
		e.find(Note, fmt.Sprintf("the %s %s is not ours", d.have.Kind, d.have.Name), qualified(d.have),
			"keep what is yours in a schema of your own; a migration may take the name")
	}
}

// grantAgain gives our roles their rights on what was made anew.
const grantAgain = "SELECT FROM " + migrate.Schema + ".grant_roles();"

// Script joins the mends that are SQL and touch our own objects alone, each below what it mends. Rights are granted at
// the end, when all is there that they are on.
func (r *Report) Script() string {
	var b strings.Builder
	again := false
	for _, f := range r.Findings {
		if f.SQL {
			mend, cut := strings.CutSuffix(f.Mend, "\n"+grantAgain)
			again = again || cut
			fmt.Fprintf(&b, "-- %s\n%s\n\n", f.What, mend)
		}
	}
	if again {
		fmt.Fprintf(&b, "%s\n", grantAgain)
	}
	return b.String()
}

// repair is the SQL that brings an object back, or a comment where there is none.
func (e *examination) repair(f *fact) string {
	relation, part, _ := strings.Cut(f.Name, ".")
	switch f.Kind {
	case "function":
		sql := strings.TrimSpace(f.Definition) + ";\n"
		if !expects(grantKind, "EXECUTE ON FUNCTION "+f.Name+" TO PUBLIC") {
			sql += "REVOKE ALL ON FUNCTION " + f.Name + " FROM PUBLIC;\n"
		}
		return sql + grantAgain
	case "view", "view column":
		view := f
		if f.Kind == "view column" {
			all, err := expected()
			at := slices.IndexFunc(all, func(o fact) bool { return o.Kind == "view" && o.Name == relation })
			if err != nil || at < 0 {
				break
			}
			view = &all[at]
		}
		return fmt.Sprintf("CREATE OR REPLACE VIEW %s AS\n%s\n%s", ident(migrate.Schema, view.Name), strings.TrimSpace(view.Definition), grantAgain)
	case "index":
		if strings.Contains(f.Name, "job_history") || strings.HasPrefix(f.Name, "job_event") {
			// A partitioned table knows no CONCURRENTLY, and gets its index with all partitions.
			return strings.Replace(f.Definition, " ON ONLY ", " ON ", 1) + ";"
		}
		return fmt.Sprintf("DROP INDEX CONCURRENTLY IF EXISTS %s;\n%s;", ident(migrate.Schema, f.Name),
			strings.Replace(f.Definition, "INDEX ", "INDEX CONCURRENTLY ", 1))
	case "column":
		return fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s;   -- when it is missing; a changed one needs a look", ident(migrate.Schema, relation), ident(part), f.Definition)
	case "sequence":
		return "CREATE SEQUENCE " + ident(migrate.Schema, f.Name) + ";"
	case "option":
		return fmt.Sprintf("ALTER TABLE %s SET (%s = %s);", ident(migrate.Schema, relation), part, f.Definition)
	}
	return fmt.Sprintf("-- `%s` shows the statement that makes it", e.command("migrate sql --all"))
}

// lookAtIndexes finds indexes that Postgres does not use: what an interrupted CREATE INDEX CONCURRENTLY leaves.
func (e *examination) lookAtIndexes(ctx context.Context) error {
	type index struct{ Name, Table string }
	all, err := query[index](ctx, e, `
		SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), 'towpath.' || (SELECT t.relname FROM pg_catalog.pg_class t WHERE t.oid = i.indrelid)
		FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relnamespace = 'towpath'::regnamespace AND NOT (i.indisvalid AND i.indisready)
			-- One that is being built just now is no fault.
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
		ORDER BY 1 LIMIT $1`, most)
	if err != nil {
		return err
	}
	for _, i := range all {
		e.findSQL(Fault, fmt.Sprintf("the index %s is invalid: it is written and never read", i.Name), i.Table, "REINDEX INDEX CONCURRENTLY "+i.Name+";")
	}
	return nil
}

// constraintKind is told by the check "constraints".
const constraintKind = "constraint"

// lookAtConstraints finds what would keep a job from starting, or its row from going to the history: constraints of
// somebody else's, and those of ours that are gone.
func lookAtConstraints(ctx context.Context, e *examination) error {
	if e.schema.State == migrate.Current {
		differences, err := differencesOf(ctx, e.pool, func(kind string) bool { return kind == constraintKind })
		if err != nil {
			return err
		}
		for _, d := range differences {
			e.findConstraint(d)
		}
	}
	type refusal struct{ Table, Name, Definition string }
	// Of the daily partitions, those constraints that do not come from the table above; and references from outside, which
	// hold a row that has to leave river_job.
	refusals, err := query[refusal](ctx, e, `
		SELECT format('%I.%I', c.relnamespace::regnamespace, c.relname), quote_ident(k.conname), pg_get_constraintdef(k.oid)
		FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
		WHERE c.relnamespace = 'towpath'::regnamespace AND c.relispartition AND c.relkind = 'r' AND k.coninhcount = 0 AND k.conparentid = 0
			AND k.contype IN ('c', 'u', 'x', 'f', 'p')
		UNION ALL
		SELECT format('%I.%I', o.relnamespace::regnamespace, o.relname), quote_ident(k.conname), pg_get_constraintdef(k.oid)
		FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.confrelid JOIN pg_catalog.pg_class o ON o.oid = k.conrelid
		WHERE c.relnamespace = 'towpath'::regnamespace AND c.relname = 'river_job' AND k.contype = 'f' AND k.conparentid = 0
		ORDER BY 1, 2 LIMIT $1`, most)
	if err != nil {
		return err
	}
	for _, r := range refusals {
		e.findSQL(Fault, fmt.Sprintf("the constraint %s refuses rows that a finished job has to move: %s", r.Name, r.Definition), r.Table,
			fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s;", r.Table, r.Name))
	}
	return nil
}

func (e *examination) findConstraint(d difference) {
	f := d.want
	if f == nil {
		f = d.have
	}
	table, name, _ := strings.Cut(f.Name, ".")
	drop := fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s;", ident(migrate.Schema, table), ident(name))
	add := fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s %s;", ident(migrate.Schema, table), ident(name), f.Definition)
	switch {
	case d.have == nil:
		e.findSQL(Fault, fmt.Sprintf("the constraint %s is missing: %s", f.Name, f.Definition), qualified(f), add)
	case d.want == nil:
		e.findSQL(Fault, fmt.Sprintf("the constraint %s is not ours, and may refuse jobs or keep them from moving to the history: %s", f.Name, f.Definition),
			qualified(f), drop)
	default:
		e.findSQL(Fault, fmt.Sprintf("the constraint %s was changed: %s, not %s", f.Name, d.have.Definition, f.Definition), qualified(f), drop+"\n"+add)
	}
}

// findSQL notes a finding that SQL mends.
func (e *examination) findSQL(severity Severity, what, where, sql string) {
	e.find(severity, what, where, sql)
	e.report.Findings[len(e.report.Findings)-1].SQL = true
}

// plainName needs no quotes in SQL.
var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// ident writes a name as SQL does, in quotes where it needs them.
func ident(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, part := range parts {
		quoted[i] = part
		if !plainName.MatchString(part) {
			quoted[i] = pgx.Identifier{part}.Sanitize()
		}
	}
	return strings.Join(quoted, ".")
}

// qualified is where a fact is.
func qualified(f *fact) string {
	if strings.HasPrefix(f.Name, migrate.Schema+".") {
		return f.Name
	}
	return migrate.Schema + "." + f.Name
}

// short is a definition on one line of a finding.
func short(definition string) string {
	definition = strings.Join(strings.Fields(definition), " ")
	if definition == "" {
		return "(nothing)"
	}
	if runes := []rune(definition); len(runes) > 80 {
		return string(runes[:79]) + "…"
	}
	return definition
}
