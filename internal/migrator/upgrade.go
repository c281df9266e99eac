package migrator

import (
	"context"
	_ "embed" // for the queries
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/postgres"
	"pephub-migrate/internal/schema"
)

var (
	// actAsSQL makes the owner of the tables the role of the transaction.
	//
	//go:embed act_as.sql
	actAsSQL string

	// plantedSQL is the query for what could run with the rights of the login role:
	// columns object, remedy.
	//
	//go:embed planted.sql
	plantedSQL string

	// takenQuery is the query for relations that have one of {{names}} and are not of
	// PEPhub's tables: columns object, remedy.
	//
	//go:embed taken.sql
	takenQuery string

	// freezeSQL keeps others from planting more.
	//
	//go:embed freeze.sql
	freezeSQL string
)

// upgrade is what there is in a database, and what is to be done with it.
type upgrade struct {
	db       schema.Database
	at       position
	from     Step // the zero Step for an empty database
	pending  []Step
	clearing clearing
	carried  carried
	guarded  bool // prepare has asked plantedSQL for who writes, under its lock
}

// stage is a piece of SQL that has a title in a plan.
type stage struct{ title, sql string }

// before returns what is done before the steps, in order.
func (m *Migrator) before(u upgrade) []stage {
	login, owner := u.carried.asideSQL(u.db.Schema)
	if login != "" {
		login = "SET LOCAL ROLE none;\n" + login
	}
	stages := []stage{{"Foreign keys of other tables step aside", login}}
	if u.at.step > 0 {
		stages = append(stages, stage{"New tables belong to the owner of the old ones", schema.Fill(actAsSQL, m.steps.snapshots())})
	}
	return append(stages,
		stage{"Empty tables of a newer application make way for the steps", guardSQL(u.clearing, u.db.Schema) + u.clearing.sql(u.db.Schema)},
		stage{"Triggers and rules of your own are disabled, and what would be in the way of a step steps aside", owner},
		stage{"Unqualified names lead to PEPhub's tables", pathSQL(u.db)},
		stage{"Indexes that are missing", m.steps.indexSQL(u.at, m.target.Number)},
	)
}

// after returns what is done after the steps, in order. The first statement also fails if
// a step has ended the transaction, with which the local settings go.
func (m *Migrator) after(u upgrade) []stage {
	return []stage{
		{"Names lead to PostgreSQL's own again", schema.CatalogPath + ";\nSELECT current_setting('pephub_migrate.allow_data_loss')::boolean;\n"},
		{"The version is written down", m.recordSQL(u.db)},
		{"New tables are as open as the tables their rows come from, and what stepped aside comes back", u.carried.restoreSQL(u.db.Schema)},
	}
}

// execute runs stages in one message, with queries behind them, whose results it returns.
// The error wraps ErrStep.
func execute(ctx context.Context, conn *pgconn.PgConn, stages []stage, queries ...string) ([]*pgconn.Result, error) {
	var sql strings.Builder
	for _, s := range stages {
		if s.sql != "" {
			fmt.Fprintf(&sql, "SELECT %s AS pephub_migrate_stage;\n%s", literal(s.title), s.sql)
		}
	}
	results, err := postgres.Exec(ctx, conn, sql.String()+strings.Join(queries, ";\n"))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrStep, lastStage(results), err)
	}
	return results, nil
}

// lastStage returns the title of the last stage that was begun.
func lastStage(results []*pgconn.Result) string {
	for _, result := range slices.Backward(results) {
		if len(result.FieldDescriptions) == 1 && result.FieldDescriptions[0].Name == "pephub_migrate_stage" && len(result.Rows) == 1 && len(result.Rows[0]) == 1 {
			return string(result.Rows[0][0])
		}
	}
	return "before the first statement"
}

// errChanged means that another session has changed the tables since they were read.
var errChanged = fmt.Errorf("%w: another session has just changed PEPhub's tables", postgres.ErrBusy)

// prepare finds out all that must be known before the first step, under locks that keep
// everybody from changing a table but not from reading and writing it.
func (m *Migrator) prepare(ctx context.Context, conn *pgconn.PgConn, db schema.Database, at position) (upgrade, error) {
	u := m.upgradeOf(db, at)
	lock := freezeSQL
	if tables := present(db); len(tables) > 0 {
		lock += schema.Fill(actAsSQL, m.steps.snapshots()) + keepSQL(db.Schema, tables)
	}
	queries := m.questions(u, true)
	results, err := postgres.Exec(ctx, conn, lock+m.reader.SQL()+";\n"+strings.Join(queries, ";\n"))
	if err != nil {
		return u, passing(fmt.Errorf("look at the tables under a lock: %w", err))
	}
	if len(results) < len(queries) {
		return u, fmt.Errorf("look at the tables under a lock: %w", postgres.ErrHalf)
	}
	answers := results[len(results)-len(queries):]
	again, err := m.reader.Parse(results[:len(results)-len(queries)])
	if err != nil {
		return u, err
	}
	if !again.Same(db) {
		return u, errChanged
	}
	u.guarded = true // decide looks at no row before it has read the answer to plantedSQL(true)
	return m.decide(ctx, conn, u, answers)
}

// keepSQL keeps everybody from changing tables, or what is attached to them, until the
// end of the transaction. It does not keep anybody from reading and writing them.
func keepSQL(schemaName string, tables []string) string {
	var names []string
	for _, table := range tables {
		names = append(names, "ONLY "+schemaName+"."+table)
	}
	return "LOCK TABLE " + strings.Join(names, ", ") + " IN SHARE UPDATE EXCLUSIVE MODE;\n"
}

// examine is prepare for whom only asks: it takes no lock.
func (m *Migrator) examine(ctx context.Context, conn *pgconn.PgConn, db schema.Database, at position) (upgrade, error) {
	u := m.upgradeOf(db, at)
	answers, err := schema.Ask(ctx, conn, m.questions(u, false)...)
	if err != nil {
		return u, fmt.Errorf("look for what is attached to the tables: %w", err)
	}
	return m.decide(ctx, conn, u, answers)
}

// upgradeOf returns what is to be done with a database that is at a position, without
// what is attached to it.
func (m *Migrator) upgradeOf(db schema.Database, at position) upgrade {
	from, _ := m.steps.find(at.step)
	return upgrade{db: db, at: at, from: from, pending: m.steps.between(at.step, m.target.Number)}
}

// questions are the queries whose answers decide is given. writes is as for attachedSQL.
func (m *Migrator) questions(u upgrade, writes bool) []string {
	return []string{m.attachedSQL(writes), m.plantedSQL(writes), m.takenSQL(u)}
}

// decide returns the whole of what is to be done, or an error that names what stands in
// the way. answers are those to questions. Within a transaction, no table that makes way
// for the steps can be filled from then on.
func (m *Migrator) decide(ctx context.Context, conn *pgconn.PgConn, u upgrade, answers []*pgconn.Result) (upgrade, error) {
	attached, err := parseAttached(answers[0])
	if err != nil {
		return u, err
	}
	planted, err := parseObstacles(answers[1:2])
	if err != nil {
		return u, err
	}
	if len(planted) > 0 {
		return u, &ObstacleError{Class: ErrPlanted, Obstacles: planted}
	}
	taken, err := parseObstacles(answers[2:3])
	if err != nil {
		return u, err
	}
	if len(u.at.leftovers) > 0 && !u.guarded {
		if err := m.refusePlanted(ctx, conn); err != nil {
			return u, err
		}
	}
	full, err := filled(ctx, conn, u.db.Schema, u.at.leftovers, true)
	if err != nil {
		return u, err
	}
	if u.clearing, err = m.steps.sortOut(u.at.leftovers, full, m.target.Number); err != nil {
		return u, err
	}
	u.carried = m.steps.passage(u.db, slices.Concat(u.clearing.drop, u.clearing.types), u.at.step, m.target.Number).carry(attached)
	if len(u.carried.unfit) > 0 && len(u.pending) > 0 {
		return u, &ObstacleError{Class: ErrUnrecognised, Obstacles: obstacles(u.carried.unfit, u.db.Schema)}
	}
	found, err := m.askRows(ctx, conn, u, attached)
	if err != nil {
		return u, err
	}
	found = slices.Concat(taken, found, obstacles(u.carried.lost, u.db.Schema))
	if len(found) > 0 {
		return u, &ObstacleError{Class: ErrAttached, Obstacles: found}
	}
	return u, nil
}

// attachedSQL returns the query for what operators have attached to the tables. writes
// says whether it is for a transaction that changes the database, or a plan.
func (m *Migrator) attachedSQL(writes bool) string {
	return strings.ReplaceAll(schema.Fill(attachedSQL, m.steps.snapshots()), "{{writes}}", strconv.FormatBool(writes))
}

// plantedSQL returns the query for what could run with the rights of the login role.
// writes is as for attachedSQL.
func (m *Migrator) plantedSQL(writes bool) string {
	archives := map[string]bool{}
	for _, step := range m.steps {
		for archive := range step.costs.archives {
			archives[archive] = true
		}
	}
	return strings.NewReplacer(
		"{{archives}}", "{"+strings.Join(slices.Sorted(maps.Keys(archives)), ",")+"}", "{{writes}}", strconv.FormatBool(writes),
	).Replace(schema.Fill(plantedSQL, m.steps.snapshots()))
}

// askRows looks for rows that keep a pending step from running: columns object, remedy.
func (m *Migrator) askRows(ctx context.Context, conn *pgconn.PgConn, u upgrade, attached []attachment) ([]Obstacle, error) {
	queries := append(m.distinctSQL(u, attached), m.mergedSQL(u, attached)...)
	if len(queries) == 0 {
		return nil, nil
	}
	if !u.guarded {
		if err := m.refusePlanted(ctx, conn); err != nil {
			return nil, err
		}
	}
	results, err := schema.Ask(ctx, conn, queries...)
	if err != nil {
		return nil, fmt.Errorf("look for rows that stand in the way: %w", err)
	}
	return parseObstacles(results)
}

// refusePlanted returns an error if something is planted. It stands before every look at
// rows, unless prepare has asked: to plan a query on a table is to run an immutable
// function in an expression of one of its indexes or statistics.
func (m *Migrator) refusePlanted(ctx context.Context, conn *pgconn.PgConn) error {
	results, err := schema.Ask(ctx, conn, m.plantedSQL(true))
	if err != nil {
		return fmt.Errorf("look for what is planted: %w", err)
	}
	planted, err := parseObstacles(results)
	if err == nil && len(planted) > 0 {
		err = &ObstacleError{Class: ErrPlanted, Obstacles: planted}
	}
	return err
}

// takenSQL returns the query for relations of others by the names that sequences and keys
// of a pending step have: PostgreSQL gives those other names then.
func (m *Migrator) takenSQL(u upgrade) string {
	names := map[string]bool{}
	for _, step := range u.pending {
		for object, definition := range step.Shape {
			kind, name := schema.KindAndName(object)
			isKey := kind == "constraint" && (strings.HasPrefix(definition, "primary key") || strings.HasPrefix(definition, "unique"))
			if _, there := u.db.Shape[object]; !there && (kind == "sequence" || isKey) {
				names[name] = true
			}
		}
	}
	list := "{" + strings.Join(slices.Sorted(maps.Keys(names)), ",") + "}"
	return strings.ReplaceAll(schema.Fill(takenQuery, m.steps.snapshots()), "{{names}}", list)
}

// has returns a test for whether a table has an attachment of a kind.
func has(attached []attachment, kind, table string) bool {
	return slices.ContainsFunc(attached, func(a attachment) bool { return a.kind == kind && a.table == table })
}

// mergedSQL returns the queries for foreign keys of other tables that refer to rows which
// a pending step makes one.
func (m *Migrator) mergedSQL(u upgrade, attached []attachment) []string {
	var queries []string
	for _, step := range u.pending {
		for column, tables := range step.moves.merged {
			table, name, _ := strings.Cut(column, ".")
			for _, a := range attached {
				if _, ok := u.db.Shape["column "+column]; !ok || a.kind != "foreign key" || !slices.Contains(tables, a.table) || has(attached, "row security", table) {
					continue
				}
				o := a.obstacle(u.db.Schema)
				queries = append(queries, fmt.Sprintf(
					"SELECT %s, %s FROM ONLY %s.%s TABLESAMPLE SYSTEM (100) GROUP BY %[5]s HAVING count(*) > 1 LIMIT 1",
					literal(o.Object+", rows of which become one"), literal(o.Remedy), u.db.Schema, table, name))
			}
		}
	}
	return queries
}

// distinctSQL returns the queries for rows whose values must be distinct before a pending
// step and are not. Where policies hide rows from some, they are left for the step to
// find.
func (m *Migrator) distinctSQL(u upgrade, attached []attachment) []string {
	if m.config.Action == config.Down {
		return nil
	}
	declared := map[string]string{}
	for _, step := range u.pending {
		maps.Copy(declared, step.moves.distinct)
	}
	var queries []string
	for _, column := range slices.Sorted(maps.Keys(declared)) {
		table, name, _ := strings.Cut(column, ".")
		if _, ok := u.db.Shape["column "+column]; !ok || has(attached, "row security", table) && m.config.Action != config.Up {
			continue
		}
		row := regexp.MustCompile(`\w+|\W+`).ReplaceAllStringFunc(declared[column], func(part string) string {
			if regexp.MustCompile(`^\w`).MatchString(part) {
				return " || " + part
			}
			return " || " + literal(part)
		})
		queries = append(queries, fmt.Sprintf(`
SELECT
    string_agg(%[1]s, ' and ' ORDER BY %[2]s, %[1]s) || ' have the same %[2]s ' || %[2]s,
    'give all but one of them another %[2]s: UPDATE %[3]s SET %[2]s = (SELECT max(%[2]s) + 1 FROM %[3]s) WHERE ...'
FROM ONLY %[3]s TABLESAMPLE SYSTEM (100)
GROUP BY %[2]s
HAVING count(*) > 1
ORDER BY %[2]s
LIMIT 100`, strings.TrimPrefix(row, " || "), name, u.db.Schema+"."+table))
	}
	return queries
}

// parseObstacles returns what results say whose rows have an object and a remedy.
func parseObstacles(results []*pgconn.Result) ([]Obstacle, error) {
	var found []Obstacle
	for _, result := range results {
		rows, err := postgres.Rows(result, 2)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			found = append(found, Obstacle{Object: string(row[0]), Remedy: string(row[1])})
		}
	}
	return found, nil
}

// present returns the tables that are there, the version tables included, without what
// only has the name of one.
func present(db schema.Database) []string {
	tables := slices.Sorted(slices.Values(db.Shape.Names("table")))
	tables = slices.DeleteFunc(tables, func(table string) bool { return db.Shape["table "+table] != "" })
	if db.Recorded != "" {
		tables = append(tables, "schema_migrations")
	}
	if db.Alembic != "" {
		tables = append(tables, "alembic_version")
	}
	return tables
}

// logUpgrade says what is done besides the steps.
func (m *Migrator) logUpgrade(u upgrade) {
	for _, table := range u.clearing.keep {
		m.log.Info("kept a table that a newer application has filled", "table", table)
	}
	if len(u.clearing.drop) > 0 {
		m.log.Info("removed empty tables that a newer application has made", "tables", strings.Join(u.clearing.drop, ", "))
	}
	if len(u.at.missing) > 0 {
		m.log.Info("made indexes that were missing", "indexes", u.at.missingIndexes())
	}
	for _, a := range u.carried.aside {
		switch a.kind {
		case "foreign key":
			m.log.Info("foreign key is dropped during the migration, and made again", "constraint", a.name, "table", a.on)
		case "trigger", "rule":
			m.log.Info(a.kind+" is disabled during the migration", "name", a.name, "table", a.table)
		}
	}
}
