package migrator

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pephub-migrate/internal/schema"
)

// answer is what a server sends after a question, or a part of that.
type answer []pgproto3.BackendMessage

// null is a cell without a value.
const null = `\N`

// tableOf is the answer to a query: column names, and the cells of each row.
func tableOf(names []string, rows ...[]string) answer {
	a := answer{columns(names...)}
	for _, row := range rows {
		a = append(a, cells(row...))
	}
	return append(a, tag(fmt.Sprint("SELECT ", len(rows))))
}

func columns(names ...string) *pgproto3.RowDescription {
	description := &pgproto3.RowDescription{}
	for _, name := range names {
		description.Fields = append(description.Fields, pgproto3.FieldDescription{Name: []byte(name), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1})
	}
	return description
}

func cells(values ...string) *pgproto3.DataRow {
	row := &pgproto3.DataRow{}
	for _, value := range values {
		if value == null {
			row.Values = append(row.Values, nil)
		} else {
			row.Values = append(row.Values, []byte(value))
		}
	}
	return row
}

func tag(text string) *pgproto3.CommandComplete {
	return &pgproto3.CommandComplete{CommandTag: []byte(text)}
}

// unnamed are the names of columns that nobody reads.
func unnamed(count int) []string { return slices.Repeat([]string{"?column?"}, count) }

// question is a piece of SQL that the fake server knows the answer to.
type question struct {
	text   string
	every  bool // whether each time that the text comes in a message is a query of its own
	answer func(*session) answer
}

// What pgconn asks a server that it has connected to, for the choice between several.
const (
	canWriteSQL  = "show transaction_read_only"
	isStandbySQL = "select pg_is_in_recovery()"
)

// fakeDatabase is as much of a database as the program asks for.
type fakeDatabase struct {
	busy      bool // whether it works on what it was asked
	steps     Steps
	questions []question

	committed contents
	held      int // how many questions more find that another instance has the lock
	changes   int // how many looks more find other columns that nobody knows
}

// session is one connection to the database.
type session struct {
	*fakeDatabase
	now    contents // in the transaction
	status byte     // of that, as in ReadyForQuery
}

// sees returns what is in the database for the session.
func (d *session) sees() contents {
	if d.status == 'I' {
		return d.committed
	}
	return d.now
}

// contents are the tables of a step.
type contents struct {
	step     int
	recorded bool // whether the version tables say so
	newer    bool // whether a newer application has made its tables beside
}

// lines are what a look at the database returns, a line for each object.
func (d *session) lines() (lines [][]string) {
	sees := d.sees()
	step, _ := d.steps.find(sees.step)
	shape := schema.Shape{}
	if sees.newer {
		_, shape = d.steps.newest().Shape.Split(step.Shape)
	}
	maps.Copy(shape, step.Shape)
	if d.changes > 0 {
		d.changes--
		for i := range 1 + d.changes%5 {
			shape[fmt.Sprint("column projects.added_", i)] = "integer"
		}
	}
	for line := range strings.Lines(shape.String()) {
		lines = append(lines, []string{strings.TrimSuffix(line, "\n")})
	}
	if sees.recorded {
		lines = append(lines, []string{fmt.Sprint("schema_migrations: ", step.Number)}, []string{fmt.Sprint("oldest_step: ", step.Oldest)},
			[]string{"alembic_version: " + cmp.Or(step.Revision, schema.Empty)})
	}
	return lines
}

// isHeld reports whether another instance has the lock.
func (d *fakeDatabase) isHeld() bool {
	d.held--
	return d.held >= 0
}

// attached are the owner of each table, and a role that may read it.
func (d *session) attached() (rows [][]string) {
	sees := d.sees()
	step, _ := d.steps.find(sees.step)
	tables := slices.Sorted(slices.Values(step.Shape.Names("table")))
	if sees.recorded {
		tables = append(tables, "schema_migrations", "alembic_version")
	}
	for _, table := range tables {
		rows = append(rows, []string{"owner", table, "", "", "", "pephub", "", "t", ""},
			[]string{"grant", table, "", "SELECT", "", "reader", "", "t", ""})
	}
	return rows
}

// asked returns what the database answers to SQL: the known questions in it, in their
// order. Where it knows none, it has done something.
func (d *session) asked(sql string) (all answer) {
	switch sql {
	case "COMMIT":
		if d.status != 'I' {
			d.committed = d.now
		}
		d.status = 'I'
		return answer{tag(sql), &pgproto3.ReadyForQuery{TxStatus: d.status}}
	case "ROLLBACK":
		d.status = 'I'
		return answer{tag(sql), &pgproto3.ReadyForQuery{TxStatus: d.status}}
	}
	type place struct{ begin, end, question int }
	var places []place
	for i, q := range d.questions {
		for from := 0; ; {
			at := strings.Index(sql[from:], q.text)
			if at < 0 {
				break
			}
			at, from = from+at, from+at+len(q.text)
			places = append(places, place{at, from, i})
			if !q.every {
				break
			}
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(b.end, a.end)) })
	end := 0
	for _, p := range places {
		if p.begin >= end { // else it is a piece of another
			all = append(all, d.questions[p.question].answer(d)...)
			end = p.end
		}
	}
	if len(all) == 0 {
		all = answer{tag("SET")}
	}
	return append(all, &pgproto3.ReadyForQuery{TxStatus: d.status})
}

// questionsOf returns all questions that a program with these steps asks, and what a
// server answers that is well.
func questionsOf(m *Migrator) []question {
	fixed := func(text string, every bool, a answer) question {
		return question{text, every, func(*session) answer { return slices.Clone(a) }}
	}
	done := func(text, command string, do func(*session)) question {
		return question{text, false, func(d *session) answer { do(d); return answer{tag(command)} }}
	}
	ours, lines := schema.Script(m.steps.snapshots())
	questions := []question{
		done("BEGIN;", "BEGIN", func(d *session) { d.status, d.now = 'T', d.committed }),
		fixed("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE", false, answer{tag("SET")}),
		{tryLockSQL(), false, func(d *session) answer {
			return tableOf(unnamed(2), []string{map[bool]string{true: "f", false: "t"}[d.isHeld()], "4711"})
		}},
		fixed("pg_catalog.set_config('pephub_migrate.schema', coalesce(schema", false, tableOf(unnamed(7), slices.Repeat([]string{"x"}, 7))),
		fixed(ours, false, tableOf(unnamed(6), []string{"public", "public, pg_temp", "f", "{}", "public.", "8"})),
		done("DROP TABLE public.", "DROP TABLE", func(d *session) { d.now.newer = false }),
		{lines[0], false, func(d *session) answer { return tableOf([]string{"line"}, d.lines()...) }},
		fixed("SELECT 'other ' || quote_ident", false, tableOf(unnamed(1))),
		fixed(m.plantedSQL(true), false, tableOf([]string{"object", "remedy"})),
		fixed(m.plantedSQL(false), false, tableOf([]string{"object", "remedy"})),
		fixed("whose name a step needs", false, tableOf(unnamed(2))),
		{m.holderSQL(), false, func(d *session) answer {
			holders := tableOf([]string{"pid", "application_name", "xact_start", "role", "prepared", "doing"})
			if d.isHeld() {
				holders = slices.Insert(holders, 1, pgproto3.BackendMessage(cells("4711", "pephub-migrate", "2026-11-24 17:28:31.4+00", "pephub", null, "working")))
			}
			return holders
		}},
		{watchSQL("4711"), false, func(d *session) answer {
			idle := "2026-11-24 17:28:31.4+00"
			if d.busy {
				idle = null
			}
			return tableOf(
				[]string{"waits_for", "mode", "held_by", "application_name", "state", "since", "prepared_transaction", "remedy", "doing", "table", "phase", "done", "idle_since"},
				[]string{"schemas", "AccessExclusiveLock", "4712", "psql", "active", null, null, null, null, null, null, null, idle})
		}},
		fixed(canWriteSQL, false, tableOf([]string{"transaction_read_only"}, []string{"off"})),
		fixed("SELECT pg_catalog.pg_is_in_recovery()", false, tableOf([]string{"pg_is_in_recovery"}, []string{"f"})), // our own
		fixed(isStandbySQL, false, tableOf([]string{"pg_is_in_recovery"}, []string{"f"})),
		fixed(" AS pephub_migrate_stage;", true, tableOf([]string{"pephub_migrate_stage"}, []string{"a stage"})),
		done("INSERT INTO public.schema_migrations (version, dirty) VALUES ", "INSERT 0 1", func(d *session) { d.now.recorded = true }),
		fixed("FROM pg_table_size((", true, tableOf(unnamed(2), []string{"16384", "8"})),
		fixed("EXPLAIN SELECT FROM ONLY ", true, tableOf(unnamed(1), []string{"Seq Scan on x  (cost=0.00..1.08 rows=8 width=0)"})),
		fixed("' WHERE EXISTS (SELECT FROM ONLY ", false, tableOf(unnamed(1))),
		fixed("    'give all but one of them another ", true, tableOf(unnamed(2))),
		fixed(" HAVING count(*) > 1 LIMIT 1", true, tableOf(unnamed(2))),
		fixed(".schema_versions AS v TABLESAMPLE", false, tableOf(unnamed(1))),
	}
	for _, line := range lines[1:] {
		questions = append(questions, fixed(line, false, tableOf([]string{"line"})))
	}
	for _, writes := range []bool{true, false} {
		questions = append(questions, question{m.attachedSQL(writes), false, func(d *session) answer {
			return tableOf(unnamed(9), d.attached()...)
		}})
	}
	for _, step := range m.steps {
		questions = append(questions,
			done(step.up, "INSERT 0 3", func(d *session) { d.now.step = step.Number }),
			done(step.down, "DELETE 3", func(d *session) { d.now.step = step.Number - 1 }))
	}
	return questions
}

// fakeServer is a server that answers as its database does, unless a script says
// otherwise.
type fakeServer struct {
	mu       sync.Mutex
	template *pgconn.Config
	database fakeDatabase
	worked   *script // for all connections but those that ask first whether the server is the
	watched  *script // right one: the watcher's, and those after a standby's
	slept    time.Duration
	stopped  chan struct{} // closed by the program's request to cancel what it has asked
	all      sync.WaitGroup
	conns    []net.Conn
}

// dial is a connection to the server.
func (s *fakeServer) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, server)
	s.all.Go(func() {
		defer server.Close()
		s.serve(server)
	})
	return client, nil
}

// wait returns when nobody is connected any more. pgconn may still be about to ask it to
// cancel a statement, on a connection that it makes by itself.
func (s *fakeServer) wait() {
	synctest.Wait()
	s.all.Wait()
}

// hangUp ends all connections.
func (s *fakeServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		conn.Close()
	}
}

// config leads to the server.
func (s *fakeServer) config() *pgconn.Config {
	config := s.template.Copy()
	config.DialFunc = s.dial
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	return config
}

func (s *fakeServer) serve(conn net.Conn) {
	backend := pgproto3.NewBackend(conn, conn)
	startup, err := backend.ReceiveStartupMessage()
	if err != nil {
		return
	}
	if _, ok := startup.(*pgproto3.StartupMessage); !ok {
		s.cancel()
		return
	}
	if !send(conn, answer{
		&pgproto3.AuthenticationOk{}, &pgproto3.BackendKeyData{ProcessID: 4711, SecretKey: []byte{1, 2, 3, 4}},
		&pgproto3.ParameterStatus{Name: "server_version", Value: "17.6"}, &pgproto3.ReadyForQuery{TxStatus: 'I'},
	}) {
		return
	}
	script, session := s.worked, &session{fakeDatabase: &s.database, status: 'I'}
	for first := true; ; first = false {
		message, err := backend.Receive()
		if err != nil {
			return
		}
		query, ok := message.(*pgproto3.Query)
		if !ok {
			continue // what a client may send after an answer that asks for more
		}
		if first && (query.String == canWriteSQL || strings.HasSuffix(query.String, "SELECT pg_catalog.pg_is_in_recovery()") || query.String == isStandbySQL) {
			script = s.watched
		}
		if !s.answer(conn, session, query.String, script) {
			return
		}
	}
}

// cancel ends all waits.
func (s *fakeServer) cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.stopped)
	s.stopped = make(chan struct{})
}

// isBusy says whether the server works on what it was asked.
func (s *fakeServer) isBusy(busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.database.busy = busy
}

// answer reports whether the connection goes on.
func (s *fakeServer) answer(conn net.Conn, session *session, sql string, script *script) bool {
	s.mu.Lock()

	said := script.play(session.asked(sql))
	s.slept += said.after
	stopped := s.stopped
	s.mu.Unlock()
	if said.after > 0 {
		s.isBusy(true)
		select {
		case <-stopped:
		case <-time.After(said.after):
		}
		s.isBusy(false)
	}
	return send(conn, said.answer) && !said.ends()
}

// send writes messages to the client; one that cannot be encoded is left out.
func send(conn net.Conn, messages answer) bool {
	var all bytes.Buffer
	for _, message := range messages {
		encoded, err := message.Encode(nil)
		if err == nil {
			all.Write(encoded)
		}
	}
	_, err := conn.Write(all.Bytes())
	return err == nil
}
