package integration

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pephub-migrate/internal/config"
	"pephub-migrate/migrations"
)

var rounds = flag.Uint64("rounds", 2, "how many random databases of each release to upgrade")

// Whatever a database of any release holds, the newest holds it too; so does the older one after the way back, and the
// newest after another way up.
func TestRandomDatabases(t *testing.T) {
	for i, release := range releases {
		step := i + 1
		for seed := range *rounds {
			t.Run(fmt.Sprintf("%s/%d", release, seed), func(t *testing.T) {
				db := newDatabase(t, "pepdbagent-"+release+".sql")
				conn := connect(t, db)
				execute(t, conn, generate(step, seed))
				before := readContent(t, conn)
				upgraded := upgradeInProcess(t, db)
				if !sameContent(t, before, upgraded) {
					t.Fatal("the upgrade did not keep this")
				}
				if err := move(t, migrations.FS, db, config.Down, step); err != nil {
					t.Fatal(err)
				}
				if !sameContent(t, comparable(t, before, step), comparable(t, readContent(t, conn), step)) {
					t.Fatal("the way back did not restore this")
				}
				if !sameContent(t, comparable(t, upgraded, step), comparable(t, upgradeInProcess(t, db), step)) {
					t.Fatal("the second upgrade did not keep this")
				}
			})
		}
	}
}

// The way back to any step keeps what that step can hold, and loses nothing else unless it is told to. Below step 3, where
// names have upper case and 0.1 has one date only, TestRandomDatabases must do.
func TestRandomWaysBack(t *testing.T) {
	for target := 3; target < len(releases)-1; target++ {
		for seed := range *rounds {
			t.Run(fmt.Sprintf("%s/%d", releases[target-1], seed), func(t *testing.T) {
				from := target + 1 + int(seed)%(len(releases)-target)
				db := newDatabase(t, "pepdbagent-"+releases[from-1]+".sql")
				conn := connect(t, db)
				execute(t, conn, generate(from, 1000+seed))
				before := upgradeInProcess(t, db)
				full := dump(t, db)
				if err := move(t, migrations.FS, db, config.Down, target); err != nil {
					if !strings.Contains(err.Error(), "has no place for") && !strings.Contains(err.Error(), "SQLSTATE 22P0") {
						t.Fatal(err)
					}
					if dump(t, db) != full {
						t.Error("the refused way back changed the database")
					}
					err := run(t, migrations.FS, db, config.Config{Action: config.Down, Target: target, AllowDataLoss: true})
					if err != nil && !strings.Contains(err.Error(), "SQLSTATE 22P0") { // jsonb has no place for \u0000 and half a surrogate pair at all
						t.Fatal(err)
					} else if err != nil {
						return
					}
				}
				after := readContent(t, conn)
				for kind := range after {
					if lostBelow[kind] > target {
						delete(after, kind)
					}
				}
				if !sameContent(t, comparable(t, after, target), comparable(t, before, target)) {
					t.Fatalf("the way back from %s did not keep this", releases[from-1])
				}
				if err := move(t, migrations.FS, db, config.Up, 0); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// lostBelow are the kinds of facts of which an older step can hold a part only, and the first step that holds them all.
var lostBelow = map[string]int{
	"name of sample": 8, "date of project": 7, "date of sample": 10, "number of stars": 10, "star": 9, "user": 8, "config": 8, "fork": 8, "pop": 8, "orphan": 7,
	"id of sample": 7, "id of subsample": 7, "schema": 14, "version": 14, "tag": 14, "group": 14, "link": 14, "text of schema": 14,
	"sequence of schemas": 14,
}

// comparable leaves out what a way back to a step cannot bring back: the guids that the releases before 0.9 do not have,
// the way in which a document is put together, and, where it is jsonb, the order of its members.
func comparable(t *testing.T, c content, step int) content {
	t.Helper()
	c = maps.Clone(c)
	if step < 10 {
		delete(c, "guid")
	}
	if step < 7 {
		delete(c, "odd document")
	}
	if step < 5 {
		for kind, lines := range c {
			c[kind] = nil
			for _, line := range lines {
				c[kind] = append(c[kind], unordered(t, line))
			}
			slices.Sort(c[kind])
		}
	}
	if step < 2 { // what anno_info lacked is added to it
		delete(c, "old annotation")
	}
	return c
}

// unordered sorts the members of the object that a line ends with.
func unordered(t *testing.T, line string) string {
	t.Helper()
	for i := range line {
		if line[i] == '{' && json.Valid([]byte(line[i:])) {
			list := members(t, line[i:])
			slices.SortStableFunc(list, func(a, b member) int { return strings.Compare(a.key, b.key) })
			return line[:i] + object(list)
		}
	}
	return line
}

// upgradeInProcess upgrades to the newest step and returns the content.
func upgradeInProcess(t *testing.T, db string) content {
	t.Helper()
	if err := move(t, migrations.FS, db, config.Up, 0); err != nil {
		t.Fatal(err)
	}
	wantNewest(t, db)
	conn := connect(t, db)
	defer conn.Close(context.Background())
	return readContent(t, conn)
}
