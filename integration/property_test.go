package integration

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pephub-migrate/internal/config"
	"pephub-migrate/migrations"
)

var rounds = flag.Uint64("rounds", 1, "how many random databases of each release to upgrade")

// Whatever a database of any release holds, the newest holds it too; so does the older
// one after the way back, and the newest after another way up.
func TestRandomDatabases(t *testing.T) {
	for i, release := range releases {
		step := i + 1
		for seed := range *rounds {
			t.Run(fmt.Sprintf("%s/%d", release, seed), func(t *testing.T) {
				t.Parallel()
				db := newDatabase(t, "pepdbagent-"+release+".sql")
				conn := connect(t, db)
				execute(t, conn, generate(step, seed, step))
				before := readContent(t, conn)
				upgraded := upgradeInProcess(t, db)
				if !sameContent(t, before, upgraded) {
					t.Fatal("the upgrade did not keep this")
				}
				if err := move(t, migrations.FS, db, config.Down, step); err != nil {
					t.Fatal(err)
				}
				if !sameContent(t, restorable(t, before, step), restorable(t, readContent(t, conn), step)) {
					t.Fatal("the way back did not restore this")
				}
				if !sameContent(t, restorable(t, upgraded, step), restorable(t, upgradeInProcess(t, db), step)) {
					t.Fatal("the second upgrade did not keep this")
				}
			})
		}
	}
}

// The way back to any step, from any other, keeps what that step can hold, and loses
// nothing else unless it is told to. Below step 3, where names have upper case and 0.1
// has one date only, TestRandomDatabases must do.
func TestRandomWaysBack(t *testing.T) {
	for target := 3; target < len(releases); target++ {
		for seed := range *rounds {
			from := target + 1 + rand.New(rand.NewPCG(seed, uint64(target))).IntN(len(releases)-target)
			t.Run(fmt.Sprintf("%s from %s/%d", releases[target-1], releases[from-1], seed), func(t *testing.T) {
				t.Parallel()
				db := newDatabase(t, "pepdbagent-"+releases[from-1]+".sql")
				conn := connect(t, db)
				execute(t, conn, generate(from, 1000+seed, target))
				before := upgradeInProcess(t, db)
				full := dump(t, db)
				if err := move(t, migrations.FS, db, config.Down, target); err != nil {
					if !strings.Contains(err.Error(), "has no place for") {
						t.Fatal(err)
					}
					wantUnchanged(t, db, full)
					err := run(t, migrations.FS, db, config.Config{Action: config.Down, Target: target, AllowDataLoss: true})
					if err != nil {
						t.Fatal(err)
					}
				}
				after := held(readContent(t, conn), target)
				if !sameContent(t, restorable(t, after, target), restorable(t, before, target)) {
					t.Fatal("the way back did not keep this")
				}
				again := upgradeInProcess(t, db)
				if !sameContent(t, restorable(t, after, target), restorable(t, again, target)) {
					t.Fatal("the second upgrade did not keep this")
				}
			})
		}
	}
}

// held leaves out the kinds of facts of which a step can hold a part only.
func held(c content, step int) content {
	c = maps.Clone(c)
	maps.DeleteFunc(c, func(kind string, _ []string) bool { return lostBelow[kind] > step })
	return c
}

// lostBelow are the kinds of facts of which an older step can hold a part only, and the
// first step that holds them all.
var lostBelow = map[string]int{
	"name of sample": 8, "date of project": 7, "date of sample": 10, "number of stars": 10, "star": 9, "user": 8, "config": 8, "fork": 8, "pop": 8, "orphan": 7,
	"id of sample": 7, "id of subsample": 7, "schema": 14, "version": 14, "tag": 14, "group": 14, "link": 14, "text of schema": 14,
	"sequence of schemas": 14,
}

// restorable leaves out what a way back to a step cannot bring back: the guids that the
// releases before 0.9 do not have, the way in which a document is put together, and,
// where it is jsonb, what jsonb makes of it.
func restorable(t *testing.T, c content, step int) content {
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
				c[kind] = append(c[kind], asJSONB(t, line))
			}
			slices.Sort(c[kind])
		}
	}
	return c
}

// asJSONB writes the JSON at the end of a line as jsonb would keep it: of two equal keys
// the last, in an order of its own, numbers by their value, and characters without their
// escapes.
func asJSONB(t *testing.T, line string) string {
	t.Helper()
	for i := range line {
		if !strings.ContainsRune(`{["`, rune(line[i])) || !json.Valid([]byte(line[i:])) {
			continue
		}
		decoder := json.NewDecoder(strings.NewReader(line[i:]))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(byValue(value))
		if err != nil {
			t.Fatal(err)
		}
		return line[:i] + string(text)
	}
	return line
}

// byValue replaces every number by the fraction that it is.
func byValue(value any) any {
	switch value := value.(type) {
	case json.Number:
		if fraction, ok := new(big.Rat).SetString(value.String()); ok {
			return fraction.RatString()
		}
	case []any:
		for i := range value {
			value[i] = byValue(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = byValue(value[key])
		}
	}
	return value
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
