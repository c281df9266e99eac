package main

import (
	"fmt"
	"slices"
	"strings"
)

// text returns the file: three lines for a person to write, and the sections.
func (d *draft) text() string {
	var text strings.Builder
	text.WriteString(placeholders(d.back, d.target))
	text.WriteString(d.lockSQL())
	text.WriteString(d.guardSQL())
	for _, section := range [][]item{d.types, d.creates, d.adds, d.fills, d.rest} {
		text.WriteString(join(section))
	}
	text.WriteString(d.archiveSQL())
	text.WriteString(join(d.drops))
	text.WriteString(join(d.last))
	return text.String()
}

// placeholders are the three lines that every step begins with. The tests refuse a TODO.
func placeholders(back bool, target int) string {
	if back {
		return fmt.Sprintf("-- Release: TODO: back to whom, as in the Release line of step %d\n", target) +
			"-- Data: TODO: what becomes of the rows, and what it refuses to lose\n" +
			"-- Undo: TODO: what going up again brings back\n"
	}
	return "-- Release: TODO: who makes this schema, and what it is, such as pepdbagent 0.13.0: licences\n" +
		"-- Data: TODO: what becomes of the rows that are there\n" +
		"-- Undo: TODO: what the way back costs\n"
}

// lockSQL locks every table at once and before anything else, if rows move or several
// tables change: what an application wrote between two statements would be lost, and a
// lock that is raised later makes deadlocks.
func (d *draft) lockSQL() string {
	if !d.moves && len(d.locks) < 2 {
		return ""
	}
	byMode := map[string][]string{}
	for table, mode := range d.locks {
		byMode[mode] = append(byMode[mode], table)
	}
	var text string
	for _, mode := range []string{"ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"} {
		if tables := byMode[mode]; len(tables) > 0 {
			slices.Sort(tables)
			text += fmt.Sprintf("LOCK TABLE %s IN %s MODE;\n", strings.Join(tables, ", "), mode)
		}
	}
	if text != "" {
		text = "\n" + text
	}
	return text
}

// guardSQL refuses to lose what the older schema has no place for, unless it is told to.
func (d *draft) guardSQL() string {
	if len(d.guards) == 0 {
		return ""
	}
	var declared, phrases, names []string
	for _, g := range d.guards {
		declared = append(declared, fmt.Sprintf("    %s bigint := (%s);\n", g.name, g.count))
		phrases = append(phrases, "% "+g.phrase)
		names = append(names, g.name)
	}
	return fmt.Sprintf(`
DO $$
DECLARE
%sBEGIN
    IF %s > 0
        AND current_setting('pephub_migrate.allow_data_loss', true) IS DISTINCT FROM 'true'
    THEN
        RAISE EXCEPTION 'step %d has no place for %s',
            %s
            USING HINT = 'back the database up, then set MIGRATE_ALLOW_DATA_LOSS=true to drop them';
    END IF;
END
$$;
`, strings.Join(declared, ""), strings.Join(names, " + "), d.target, strings.Join(phrases, ", "), strings.Join(names, ", "))
}

// archiveSQL keeps what is dropped next.
func (d *draft) archiveSQL() string {
	if len(d.archives) == 0 {
		return ""
	}
	var names []string
	var made strings.Builder
	for _, a := range d.archives {
		names = append(names, "'"+a.name+"'")
		_, from, _ := strings.Cut(a.query, " FROM ")
		fmt.Fprintf(&made, "    IF EXISTS (SELECT FROM %s) THEN\n        CREATE TABLE %s AS\n        %s;\n    END IF;\n", from, a.name, a.query)
	}
	return fmt.Sprintf(`
-- An archive that is there already is left from an upgrade whose database was restored since. It stays, under a name of its own.
DO $$
DECLARE
    archive text;
BEGIN
    FOREACH archive IN ARRAY ARRAY[%s] LOOP
        IF to_regclass(archive) IS NOT NULL THEN
            -- allow dynamic: the names are those of the list above
            EXECUTE format('ALTER TABLE %%I RENAME TO %%I', archive, archive || to_char(now(), '_YYYYMMDD_HH24MISS_US'));
        END IF;
    END LOOP;
%sEND
$$;
`, strings.Join(names, ", "), made.String())
}

// join writes a section. Commands for one table that follow each other become one
// statement, which passes over it once.
func join(items []item) string {
	var text strings.Builder
	long := false // whether the statement before takes several lines
	for i := 0; i < len(items); {
		end := i + 1
		for items[i].table != "" && end < len(items) && items[end].table == items[i].table {
			end++
		}
		one := statementText(items[i:end])
		if i == 0 || long || strings.Count(one, "\n") > 1 {
			text.WriteString("\n")
		}
		long = strings.Count(one, "\n") > 1
		text.WriteString(one)
		i = end
	}
	return text.String()
}

// statementText writes one statement of one or several items.
func statementText(items []item) string {
	var text strings.Builder
	if items[0].table == "" || len(items) == 1 {
		for _, comment := range items[0].comments {
			text.WriteString(comment + "\n")
		}
		if items[0].table != "" {
			text.WriteString("ALTER TABLE " + items[0].table + " ")
		}
		text.WriteString(items[0].text)
		if !strings.HasPrefix(items[0].text, "--") {
			text.WriteString(";")
		}
		return text.String() + "\n"
	}
	text.WriteString("ALTER TABLE " + items[0].table + "\n")
	for i, one := range items {
		for _, comment := range one.comments {
			text.WriteString("    " + comment + "\n")
		}
		end := ","
		if i == len(items)-1 {
			end = ";"
		}
		text.WriteString("    " + one.text + end + "\n")
	}
	return text.String()
}
