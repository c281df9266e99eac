package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pephub-migrate/internal/config"
	"pephub-migrate/internal/postgres"
	"pephub-migrate/migrations"
)

// script says how a server's answers differ from what they should be. It is read a byte
// at a time: how many answers are right before the next that is not, what is done to that
// one, and with which part of it. At its end all answers are right.
type script struct {
	bytes []byte
	right int // how many answers are to be right before the next that is not
	begun bool
}

// next returns a byte, or 0 at the end.
func (s *script) next() int {
	if len(s.bytes) == 0 {
		return 0
	}
	first := s.bytes[0]
	s.bytes = s.bytes[1:]
	return int(first)
}

// words are what cells, tags and SQLSTATE codes are made of, beside what a script spells
// out.
var words = append([]string{
	"", "t", "f", "0", "1", "-1", "99999999999999999999", "a stage", "rows=8", "rows=", "COMMIT",
	"ROLLBACK", "INSERT 0 -9", "SELECT 99999999999999999999", "table ", "table projects",
	"table projects: view", "table schemas: ", "table schema_records", "column .", "index ",
	"column projects.id: integer", "column users.number_of_schemas: integer", "index projects.",
	"enum ", "constraint projects.id", "sequence projects_id_seq", "schema_migrations: 14",
	"schema_migrations: 99", "schema_migrations: -1", "schema_migrations: unreadable",
	"oldest_step: 1", "oldest_step: -1", "alembic_version: 44cb1e7a80de", "alembic_version: x",
	"other x", "elsewhere x", ": ", "id", "samples", "stars", "users", "id,namespace", "SELECT",
	"a='b', c='d'", " WITH GRANT OPTION", "ENABLE RI_FKey_check_ins", "waits_for", "$do$", "'",
	"pephub_migrate_stage", "projects", "schemas", "PUBLIC", "\x00", "\xff", "08P01", "25006",
	"25P03", "28P01", "3D000", "40001", "42501", "42P01", "42809", "53300", "55P03", "57014",
	"57P01", "57P03", "0A000", "P0001", "XX000",
}, namesOfKinds()...)

func namesOfKinds() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// text returns a word, or what the script spells out.
func (s *script) text() string {
	if choice := s.next(); choice < len(words) {
		return words[choice]
	}
	var spelt []byte
	for range s.next() % 32 {
		spelt = append(spelt, byte(s.next()))
	}
	return string(spelt)
}

// said is what the server does about one question.
type said struct {
	answer
	after time.Duration
	cut   bool // whether the connection is closed then
}

// ends reports whether the connection is closed after the answer, as it is after one that
// lacks its end: whether a server is at work still, or will never say more, cannot be
// told, and is not the matter here.
func (s *said) ends() bool {
	return s.cut || len(positions[*pgproto3.ReadyForQuery](s.answer)) == 0
}

// play returns what becomes of an answer.
func (s *script) play(right answer) said {
	out := said{answer: right}
	if !s.begun {
		s.begun, s.right = true, s.next()%64
	}
	for len(s.bytes) > 0 {
		if s.right > 0 {
			s.right--
			break
		}
		s.spoil(&out)
		s.right = s.next() % 64
	}
	return out
}

// positions returns where the messages of a kind are.
func positions[M pgproto3.BackendMessage](a answer) (found []int) {
	for i, message := range a {
		if _, ok := message.(M); ok {
			found = append(found, i)
		}
	}
	return found
}

// one returns a place that the script chooses: from the front, or in the upper half of
// its values from the end.
func (s *script) one(places []int) (int, bool) {
	choice := s.next()
	if len(places) == 0 {
		return 0, false
	}
	if choice >= 128 {
		return places[len(places)-1-(255-choice)%len(places)], true
	}
	return places[choice%len(places)], true
}

// The ways to spoil an answer. What stands first is likeliest for a short script.
const (
	drop = iota
	double
	swap
	dropRange
	doubleRange
	lessCells
	moreCells
	nullCell
	otherCell
	otherColumns
	otherTag
	otherStatus
	insert
	wait
	cut
	ways
)

// spoil does to an answer what the script says next.
func (s *script) spoil(out *said) {
	a := out.answer
	everywhere := positions[pgproto3.BackendMessage](a)
	switch s.next() % ways {
	case drop:
		if i, ok := s.one(everywhere); ok {
			out.answer = slices.Delete(a, i, i+1)
		}
	case double:
		if i, ok := s.one(everywhere); ok {
			out.answer = slices.Insert(a, i, a[i])
		}
	case swap:
		i, _ := s.one(everywhere)
		if j, ok := s.one(everywhere); ok {
			a[i], a[j] = a[j], a[i]
		}
	case dropRange:
		if i, j, ok := s.twoOf(everywhere); ok {
			out.answer = slices.Delete(a, i, j+1)
		}
	case doubleRange:
		if i, j, ok := s.twoOf(everywhere); ok {
			out.answer = slices.Insert(a, j+1, slices.Clone(a[i:j+1])...)
		}
	case lessCells, moreCells, nullCell, otherCell:
		s.spoilRow(a)
	case otherColumns:
		if i, ok := s.one(positions[*pgproto3.RowDescription](a)); ok {
			a[i] = columns(slices.Repeat([]string{s.text()}, s.next()%12)...)
		}
	case otherTag:
		if i, ok := s.one(positions[*pgproto3.CommandComplete](a)); ok {
			a[i] = tag(s.text())
		}
	case otherStatus:
		if i, ok := s.one(positions[*pgproto3.ReadyForQuery](a)); ok {
			a[i] = &pgproto3.ReadyForQuery{TxStatus: "ITE\x00"[s.next()%4]}
		}
	case insert:
		i, _ := s.one(append(everywhere, len(a)))
		out.answer = slices.Insert(a, min(i, len(a)), s.message())
	case wait:
		out.after += time.Duration(s.next()) * 100 * time.Millisecond
	case cut:
		i, _ := s.one(everywhere)
		out.answer, out.cut = a[:i], true
	}
}

func (s *script) twoOf(places []int) (first, last int, ok bool) {
	first, _ = s.one(places)
	last, ok = s.one(places)
	return min(first, last), max(first, last), ok
}

// spoilRow changes the cells of a row. A message may be the database's own, and stays as
// it is.
func (s *script) spoilRow(a answer) {
	i, ok := s.one(positions[*pgproto3.DataRow](a))
	if !ok {
		return
	}
	row, ok := a[i].(*pgproto3.DataRow)
	if !ok {
		return
	}
	values := slices.Clone(row.Values)
	switch cell := s.next(); {
	case cell < 64:
		values = values[:min(len(values), cell)]
	case cell < 128:
		for range cell - 64 {
			values = append(values, []byte(s.text()))
		}
	case len(values) == 0:
	case cell < 192:
		values[cell%len(values)] = nil
	default:
		values[cell%len(values)] = []byte(s.text())
	}
	a[i] = &pgproto3.DataRow{Values: values}
}

// message returns one that the script chooses.
func (s *script) message() pgproto3.BackendMessage {
	switch s.next() % 18 {
	case 0:
		return &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: s.text(), Message: s.text(), Position: int32(s.next()) - 100}
	case 1:
		return &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: s.text(), Message: s.text()}
	case 2:
		return columns(slices.Repeat([]string{s.text()}, s.next()%12)...)
	case 3:
		var values []string
		for range s.next() % 12 {
			values = append(values, s.text())
		}
		return cells(values...)
	case 4:
		return tag(s.text())
	case 5:
		return &pgproto3.EmptyQueryResponse{}
	case 6:
		return &pgproto3.NoticeResponse{Severity: "WARNING", SeverityUnlocalized: "WARNING", Code: s.text(), Message: s.text()}
	case 7:
		return &pgproto3.ReadyForQuery{TxStatus: "ITE\x00"[s.next()%4]}
	case 8:
		return &pgproto3.ParameterStatus{Name: s.text(), Value: s.text()}
	case 9:
		return &pgproto3.NotificationResponse{Channel: s.text()}
	case 10:
		return &pgproto3.CopyInResponse{}
	case 11:
		return &pgproto3.CopyOutResponse{}
	case 12:
		return &pgproto3.CopyData{Data: []byte(s.text())}
	case 13:
		return &pgproto3.NoData{}
	case 14:
		return &pgproto3.ParseComplete{}
	case 15:
		return &pgproto3.BindComplete{}
	case 16:
		return &pgproto3.AuthenticationOk{}
	default:
		return &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1}}
	}
}

// audience is what the program is beside its server: the steps, and what can be made once
// for all runs.
type audience struct {
	steps     Steps
	templates []*pgconn.Config // by what kind of server they want: any, or one that can write
	questions []question
}

func newAudience(t testing.TB) audience {
	t.Helper()
	var a audience
	for _, wants := range []string{"any", "read-write", "primary"} {
		template, err := pgconn.ParseConfig("postgres://pephub@127.0.0.1/pep-db?sslmode=disable&target_session_attrs=" + wants)
		if err != nil {
			t.Fatal(err)
		}
		a.templates = append(a.templates, template)
	}
	var err error
	if a.steps, err = Load(migrations.FS); err != nil {
		t.Fatal(err)
	}
	m, err := newMigrator(a.steps, config.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a.questions = questionsOf(m)
	return a
}

// server returns a server with that in its database, where another instance has the lock
// at first, or not.
func (a audience) server(is contents, held int, worked, watched []byte) *fakeServer {
	return &fakeServer{
		template: a.templates[0],
		database: fakeDatabase{steps: a.steps, questions: a.questions, committed: is, held: held},
		worked:   &script{bytes: worked}, watched: &script{bytes: watched}, stopped: make(chan struct{}),
	}
}

// inBubble runs a test whose time passes as fast as nobody needs it. golang-migrate
// leaves a goroutine behind when a step fails, which the bubble takes for a deadlock.
func inBubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	defer func() {
		reason := recover()
		if reason != nil && !strings.HasSuffix(fmt.Sprint(reason), "main bubble goroutine has exited but blocked goroutines remain") {
			panic(reason)
		}
	}()
	synctest.Test(t, test)
}

// stackOf returns the stack of a goroutine that runs a function.
func stackOf(function string) string {
	all := make([]byte, 1<<20)
	for one := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
		if strings.Contains(one, function) {
			return one
		}
	}
	return "nobody runs " + function
}

// actions are what is run against the server.
var actions = []string{config.Up, config.Down, config.Check, config.Wait, config.Plan}

// run is the program's own line, but for the environment.
func (a audience) run(ctx context.Context, server *fakeServer, action string) (Outcome, error) {
	const limit = time.Second
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	to := func() (*pgconn.Config, error) { return server.config(), nil }
	cfg := config.Config{Server: to, Action: action, WaitTimeout: limit, LockTimeout: limit}
	if action == config.Down {
		cfg.Target = 13
	}
	m, err := newMigrator(a.steps, cfg, log)
	if err != nil {
		return Outcome{}, err
	}
	attempt := map[string]func(context.Context, *pgconn.PgConn) (Outcome, error){
		config.Up: m.Migrate, config.Down: m.Migrate, config.Check: m.Check, config.Wait: m.Wait, config.Plan: m.Plan,
	}[action]
	var outcome Outcome
	err = postgres.New(to, limit, log).Do(ctx, func(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
		var err error
		outcome, err = attempt(ctx, conn)
		return outcome.Progress, err
	})
	return outcome, err
}

// endsItself is run for a test that fails if there is a panic, or no end.
func (a audience) endsItself(t *testing.T, server *fakeServer, action string) (outcome Outcome, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if reason := recover(); reason != nil {
				t.Errorf("a panic: %v\n%s", reason, debug.Stack())
				server.hangUp()
			}
		}()
		outcome, err = a.run(ctx, server, action)
	}()
	select {
	case <-done:
	case <-time.After(time.Hour + patience):
		t.Errorf("it does not even end when it is interrupted:\n%s", stackOf("audience.run("))
		server.hangUp()
		<-done
	}
	return outcome, err
}

// A server that answers as it should leads every action to its end.
func TestRightAnswers(t *testing.T) {
	a := newAudience(t)
	for name, test := range map[string]struct {
		action string
		is     contents
		held   int
		class  error
		says   string
	}{
		"up, empty":           {config.Up, contents{}, 0, nil, "0 15 true"},
		"up, 1":               {config.Up, contents{step: 1}, 0, nil, "1 15 true"},
		"up, 13":              {config.Up, contents{step: 13}, 0, nil, "13 15 true"},
		"up, 9 and newer":     {config.Up, contents{step: 9, newer: true}, 0, nil, "9 15 true"},
		"up, 13, another has": {config.Up, contents{step: 13}, 9, nil, "13 15 true"},
		"up, 15":              {config.Up, contents{step: 15}, 0, nil, "15 15 true"},
		"up, done":            {config.Up, contents{step: 15, recorded: true}, 0, nil, "15 15 false"},
		"down, 15":            {config.Down, contents{step: 15}, 0, nil, "15 13 true"},
		"check, empty":        {config.Check, contents{}, 0, ErrPending, ""},
		"check, 13":           {config.Check, contents{step: 13}, 0, ErrPending, ""},
		"check, done":         {config.Check, contents{step: 15, recorded: true}, 0, nil, "15 15 false"},
		"wait, 13":            {config.Wait, contents{step: 13}, 1, ErrPending, ""},
		"plan, empty":         {config.Plan, contents{}, 0, nil, "0 15 false"},
		"plan, 9 and newer":   {config.Plan, contents{step: 9, newer: true}, 0, nil, "9 15 false"},
		"plan, 13":            {config.Plan, contents{step: 13}, 0, nil, "13 15 false"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				server := a.server(test.is, test.held, nil, nil)
				outcome, err := a.endsItself(t, server, test.action)
				server.wait()
				if !errors.Is(err, test.class) {
					t.Fatalf("got %v", err)
				}
				if got := fmt.Sprint(outcome.From.Number, outcome.To.Number, outcome.Changed); err == nil && got != test.says {
					t.Errorf("got %s", got)
				}
				if outcome.Changed && server.database.committed != (contents{step: outcome.To.Number, recorded: true}) {
					t.Errorf("the server has %+v", server.database.committed)
				}
				if planned := strings.Contains(outcome.Plan, "Step 15"); planned != (test.action == config.Plan) {
					t.Errorf("the plan is %q", outcome.Plan)
				}
			})
		})
	}
}

// An answer that is none is an attempt that has failed, and is made good by the next one,
// whatever the program had asked: on another connection, since nobody knows what is still
// to come on this one.
func TestSpoiltAnswerIsMadeGood(t *testing.T) {
	a := newAudience(t)
	questions := []string{"look", "begin", "prepare", "before", "step 14", "step 15", "after", "COMMIT"}
	for name, way := range map[string][]byte{
		"without results":             {dropRange, 0, 254},
		"without its first message":   {drop, 0},
		"without the end of a result": {drop, 254},
		"with a row without cells":    {lessCells, 255, 0},
		"with a row too much":         {insert, 253, 3, 1, 1},
		"with a column too much":      {moreCells, 255, 65, 1},
		"twice":                       {doubleRange, 0, 255},
		"broken off":                  {cut, 1},
	} {
		for asked, question := range questions {
			t.Run(question+" is answered "+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					server := a.server(contents{step: 13}, 0, append([]byte{byte(asked)}, way...), nil)
					_, err := a.endsItself(t, server, config.Up)
					server.wait()
					is := server.database.committed
					if name == "without the end of a result" && errors.Is(err, postgres.ErrUnreachable) {
						return // the time is over before it is sure that the end does not come
					}
					if err != nil || is != (contents{step: 15, recorded: true}) {
						t.Errorf("it ended with %v, and the server has %+v", err, is)
					}
				})
			})
		}
	}
}

// A database that is refused each time for another reason is not looked at for ever:
// nobody could tell that the time is over.
func TestDatabaseThatKeepsChanging(t *testing.T) {
	a := newAudience(t)
	inBubble(t, func(t *testing.T) {
		server := a.server(contents{step: 13}, 0, nil, nil)
		server.database.changes = 150 // looks, of which there are five a second
		start := time.Now()
		_, err := a.endsItself(t, server, config.Check)
		server.wait()
		if took := time.Since(start); err == nil || took > 15*time.Second {
			t.Errorf("it took %s, and ended with %v", took, err)
		}
	})
}

// patience is how long a run may take, with all its attempts, beside what the server
// takes.
const patience = time.Minute

// Whatever a server answers, every action ends, and without a panic: an answer that is
// not what it should be is an attempt that has failed. The server lets the program in,
// and is right but for what a script says.
func FuzzAnswers(f *testing.F) {
	a := newAudience(f)
	for _, seed := range seeds() {
		f.Add(seed.action, seed.is, seed.worked, seed.watched)
	}
	f.Fuzz(func(t *testing.T, action, is byte, worked, watched []byte) {
		inBubble(t, func(t *testing.T) {
			const most = 256 // bytes of a script
			server := a.server(contents{int(is & 15), is&recorded > 0, is&newer > 0}, int(is)/held,
				worked[:min(most, len(worked))], watched[:min(most, len(watched))])
			server.template = a.templates[int(action)/len(actions)%len(a.templates)]
			start := time.Now()
			_, err := a.endsItself(t, server, actions[int(action)%len(actions)])
			server.wait()
			_ = fmt.Sprint(err) // which may need what is not there
			if took := time.Since(start) - server.slept; took > patience {
				t.Errorf("it took %s more than the server did, and ended with %v", took, err)
			}
		})
	})
}

// What a byte says of the database, beside the step.
const (
	recorded = 16
	newer    = 32
	held     = 64
)

// seed is a case to begin with.
type seed struct {
	action, is      byte
	worked, watched []byte
}

const up, down, check, waitFor, plan = 0, 1, 2, 3, 4

// found are the seeds by which something was found.
var found = []seed{
	// A row and the end of the answer, but no end of the result: pgconn waits for that
	// for ever, and no context ends it.
	{waitFor, 13, []byte{1, drop, 254}, nil},
	{up, 13, []byte{2, drop, 254}, nil},
	// A stage without a title, and an error.
	{up, 13, []byte{3, lessCells, 255, 0, 0, insert, 254, 0, word("XX000")}, nil},
	// The server is a standby, and the next does not say whether it is one.
	{up, 13, []byte{0, otherCell, 1, 194, 1}, []byte{0, dropRange, 0, 254}},
	// Nor does one that is asked by the operator's own configuration.
	{up + 5, 13, nil, []byte{0, dropRange, 0, 254}},
	{check + 10, 13, nil, []byte{0, lessCells, 0, 0}},
	// Nor does the watcher's server.
	{up, 13, []byte{4, wait, 30}, []byte{0, dropRange, 0, 254}},
	{up, 13, []byte{4, wait, 30}, []byte{0, lessCells, 0, 0}},
}

// seeds are runs in which one answer is spoilt, each of some twelve in its turn, and some
// that lead to where an answer is read that few databases give.
func seeds() (all []seed) {
	for action := range byte(len(actions)) {
		for _, is := range []byte{0, 4, 9 | newer, 13, 15 | recorded, 13 | 3*held} {
			all = append(all, seed{action: action, is: is})
		}
	}
	for _, action := range []byte{up, check, plan} {
		for question := range byte(12) {
			for _, way := range [][]byte{{dropRange, 0, 254}, {doubleRange, 0, 255}, {lessCells, 255, 0}} {
				all = append(all, seed{action, 9, append([]byte{question}, way...), nil})
			}
		}
	}
	for i := range kinds { // of attachments
		kind := byte(len(words) - len(kinds) + i)
		all = append(all, seed{plan, 9, []byte{1, insert, 8, 3, 9, kind, word("projects"), word("id"), 1, word("schemas"), 1, word("id"), 1, 0}, nil})
	}
	undecided := []byte{insert, 8, 3, 1, word("column users.number_of_schemas: integer")}
	planted := []byte{insert, 253, 3, 2, 1, 1}
	twice := func(first byte, way []byte, again byte) []byte {
		return slices.Concat([]byte{first}, way, []byte{again}, way)
	}
	return append(append(all,
		seed{check, 13 | newer, append(twice(0, undecided, 1), 2, insert, 253, 3, 1, 1), nil},
		seed{check, 13, twice(1, planted, 2), nil},
		seed{up, 13, append([]byte{2}, planted...), nil},
		seed{up, 4, append([]byte{3}, planted...), nil},
		seed{check, 9 | newer, []byte{3, insert, 253, 3, 1, word("projects")}, nil},
	), found...)
}

// word returns the place of one of the words.
func word(text string) byte { return byte(slices.Index(words, text)) }
