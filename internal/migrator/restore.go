package migrator

import (
	_ "embed" // for close.sql
	"fmt"
	"maps"
	"slices"
	"strings"
)

//go:embed close.sql
var closeSQL string

// asideSQL returns the statements that take out of the way of the steps what has to be:
// those that need the rights of the login role, and those of the tables' owner. The
// latter lock their tables first as strongly as a step may: to raise a lock makes
// deadlocks.
func (c carried) asideSQL(schema string) (login, owner string) {
	var tables []string
	for _, a := range c.aside {
		k, _ := a.of()
		statement := a.fill(k.aside, schema) + ";\n"
		if k.login {
			login += statement
			continue
		}
		owner += statement
		if table := schema + "." + a.table; !slices.Contains(tables, table) {
			tables = append(tables, table)
		}
	}
	if len(tables) > 0 {
		owner = lockSQL(strings.Join(tables, ", ")) + ";\n" + owner
	}
	return login, owner
}

// restoreSQL returns the statements that give new tables the grants and the row security
// of their sources, and put back what stepped aside or was on something that is new.
func (c carried) restoreSQL(schema string) string {
	var sql, login strings.Builder
	if made := append(slices.Sorted(maps.Keys(c.archives)), c.closed...); len(made) > 0 {
		var sequences []string
		for _, table := range c.closed {
			sequences = append(sequences, table+"_id_seq")
		}
		sql.WriteString(strings.NewReplacer("{{new}}", "{"+strings.Join(made, ",")+"}", "{{new sequences}}", "{"+strings.Join(sequences, ",")+"}").Replace(closeSQL))
	}
	for _, a := range c.put {
		k, _ := a.of()
		if k.login {
			login.WriteString(a.makeSQL(schema))
			continue
		}
		sql.WriteString(a.makeSQL(schema))
		if k.name == "row security" && slices.Contains(c.closed, a.table) {
			fmt.Fprintf(&sql, "DO $do$ BEGIN RAISE WARNING 'row level security is enabled on the new table %s, as on the table its rows come from: only its owner sees them until it has policies'; END $do$;\n", a.table)
		}
	}
	for _, archive := range slices.Sorted(maps.Keys(c.archives)) {
		sql.WriteString(archiveSQL(archive, schema, c.archives[archive]))
	}
	if login.Len() > 0 {
		sql.WriteString("SET LOCAL ROLE none;\n" + login.String())
	}
	return sql.String()
}

// archiveSQL puts on an archive what belongs there, if the steps have made it.
func archiveSQL(archive, schema string, put []attachment) string {
	if len(put) == 0 {
		return ""
	}
	body := fmt.Sprintf("\nBEGIN\n    IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%s) AND xmin = pg_current_xact_id()::xid) THEN\n", literal(schema+"."+archive))
	for _, a := range put {
		body += "        " + a.makeSQL(schema)
	}
	return "DO " + dollars(body+"    END IF;\nEND\n") + ";\n"
}

// dollars quotes a text that may have names of an operator's in it.
func dollars(text string) string {
	tag := "$do$"
	for strings.Contains(text, tag) {
		tag = strings.Replace(tag, "o", "oo", 1)
	}
	return tag + text + tag
}

// missing returns what must be there afterwards and is not.
func (c carried) missing(found []attachment) []attachment {
	there := map[string]bool{}
	for _, a := range found {
		there[a.String()] = true
		a.definition = respelt
		there[a.String()] = true
	}
	return slices.DeleteFunc(slices.Clone(c.after), func(a attachment) bool { return there[a.String()] })
}

// fingerprint returns what fingerprintSQL makes of the lines of text of all attachments
// before the steps.
func (c carried) fingerprint() string {
	var lines []string
	for _, a := range c.before {
		lines = append(lines, a.String())
	}
	return sum(lines)
}

// linesSQL returns the lines of text of attachments, given the query for those.
func linesSQL(attached string) string {
	return `SELECT concat_ws('|', kind, "table", "column", name, "on", definition) AS line FROM (` + attached + `) AS attached`
}

// expectSQL returns a statement that fails unless all is there that must be, given the
// query for attachments.
func (c carried) expectSQL(attached string) string {
	if len(c.after) == 0 {
		return ""
	}
	var lines []string
	for _, a := range c.after {
		lines = append(lines, "("+literal(a.String())+")")
	}
	return "DO " + dollars(`
DECLARE
    lost text;
BEGIN
    SELECT string_agg(e.line, '; ') INTO lost
    FROM (VALUES
        `+strings.Join(lines, ",\n        ")+`
    ) AS e (line)
    WHERE e.line NOT IN (
        SELECT concat_ws('|', a.kind, a."table", a."column", a.name, a."on", d.definition)
        FROM (`+attached+`) AS a
        CROSS JOIN LATERAL (VALUES (a.definition), ('`+respelt+`')) AS d (definition)
    );
    IF lost IS NOT NULL THEN
        RAISE EXCEPTION 'this of your own would be lost: %', lost;
    END IF;
END
`) + ";\n"
}
