package postgres

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestClassification(t *testing.T) {
	server := func(code string) error { return fmt.Errorf("read: %w", &pgconn.PgError{Code: code, Message: "m"}) }
	for name, test := range map[string]struct {
		err       error
		retryable bool
		refused   bool
		busy      bool
	}{
		"refused connection":   {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true, false, false},
		"reset":                {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true, false, false},
		"unknown host":         {&net.DNSError{Name: "db", IsNotFound: true}, true, false, false},
		"lost":                 {io.ErrUnexpectedEOF, true, false, false},
		"lost in a step":       {errors.Join(errors.New("step"), io.EOF), true, false, false},
		"starting up":          {server("57P03"), true, false, false},
		"shut down":            {server("57P01"), true, false, false},
		"too many connections": {server("53300"), true, false, false},
		"connection exception": {server("08006"), true, false, false},
		"read only":            {server("25006"), true, false, false},
		"deadlock":             {server("40P01"), true, false, true},
		"serialization":        {server("40001"), true, false, true},
		"lock timeout":         {server("55P03"), true, false, true},
		"other instance":       {fmt.Errorf("%w: by x", ErrBusy), true, false, true},
		"not yet":              {Again{Err: errors.New("x")}, true, false, false},
		"standby":              {ErrStandby, true, false, false},
		"cancelled by others":  {server("57014"), true, false, false},
		"unknown authority":    {x509.UnknownAuthorityError{}, false, true, false},
		"wrong host name":      {x509.HostnameError{}, false, true, false},
		"wrong password":       {server("28P01"), false, true, false},
		"no pg_hba entry":      {server("28000"), false, true, false},
		"no such database":     {server("3D000"), false, true, false},
		"no privilege":         {server("42501"), false, true, false},
		"no schema":            {server("3F000"), false, true, false},
		"bad certificate":      {&tls.CertificateVerificationError{Err: errors.New("x")}, false, true, false},
		"syntax error":         {server("42601"), false, false, false},
		"unique violation":     {server("23505"), false, false, false},
		"database closed":      {&pgconn.PgError{Severity: "FATAL", Code: "55000"}, false, true, false},
		"stopped for a while":  {server("25P03"), true, false, false},
		"no memory just now":   {fmt.Errorf("%w: x", ErrUnable), true, false, false},
		"database dropped":     {server("57P04"), false, true, false},
		"a bug":                {errors.New("nil"), false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judge(test.err) == passes; got != test.retryable {
				t.Errorf("retryable: %v", got)
			}
			if got := errors.Is(classify(test.err, nil), ErrRefused); got != test.refused {
				t.Errorf("refused: %v", got)
			}
			if got := errors.Is(giveUp(test.err, 0), ErrBusy); got != test.busy {
				t.Errorf("busy: %v", got)
			}
			if !errors.Is(classify(test.err, nil), test.err) || !errors.Is(giveUp(test.err, 0), test.err) {
				t.Error("the cause is lost")
			}
		})
	}
}

func fixed(config *pgconn.Config) Source {
	return func() (*pgconn.Config, error) { return config, nil }
}

// do tries to reach a listener and returns the log and the error.
func do(ctx context.Context, t *testing.T, address string, wait time.Duration) (string, error) {
	t.Helper()
	config, err := pgconn.ParseConfig("postgres://user:s3cret@" + address + "/db?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	err = New(fixed(config), wait, slog.New(slog.NewTextHandler(&log, nil))).Do(ctx, func(context.Context, *pgconn.PgConn) (bool, error) {
		t.Error("the work was begun")
		return false, nil
	})
	if strings.Contains(log.String()+err.Error(), "s3cret") {
		t.Errorf("the password is shown: %v\n%s", err, &log)
	}
	return log.String(), err
}

func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return listener.Addr().String()
}

// One host that failed for a passing reason is worth another try, whatever is wrong with
// the others.
func TestTLSOfSeveralHosts(t *testing.T) {
	plain := listen(t, func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, 8)) // the request for TLS
		conn.Write([]byte("N"))
		conn.Close()
	})
	down := listen(t, func(conn net.Conn) { conn.Close() })
	for name, test := range map[string]struct {
		hosts, mode string
		class       error
	}{
		"no TLS":                    {plain, "require", ErrRefused},
		"no TLS at either":          {plain + "," + plain, "require", ErrRefused},
		"no TLS, and one is down":   {plain + "," + down, "require", ErrUnreachable},
		"one is down, and no TLS":   {down + "," + plain, "require", ErrUnreachable},
		"no TLS, and none is asked": {plain, "prefer", ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := pgconn.ParseConfig("postgres://user@" + test.hosts + "/db?sslmode=" + test.mode)
			if err != nil {
				t.Fatal(err)
			}
			err = New(fixed(config), 50*time.Millisecond, slog.New(slog.DiscardHandler)).Do(context.Background(), nil)
			if !errors.Is(err, test.class) {
				t.Errorf("got %v", err)
			}
			if spoken := strings.Contains(err.Error(), "refused TLS"); spoken != (test.class == ErrRefused) {
				t.Errorf("it is TLS that counts, or not: %v", err)
			}
		})
	}
}

func TestServersThatAreNone(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"silent": func(net.Conn) {},
		"closes": func(conn net.Conn) { conn.Close() },
		"HTTP": func(conn net.Conn) {
			conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			log, err := do(context.Background(), t, listen(t, serve), 50*time.Millisecond)
			if !errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("gave up after %s", took)
			}
			if lines := strings.Count(log, "msg=waiting"); lines > 2 {
				t.Errorf("%d lines for one state:\n%s", lines, log)
			}
		})
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	address := listen(t, func(conn net.Conn) {
		conn.Close()
		cancel()
	})
	if _, err := do(ctx, t, address, time.Minute); err == nil || errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

// begun is a server that goes on in some way once a client has said what it wants.
func begun(t *testing.T, goOn func(*pgproto3.Backend)) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		defer conn.Close()
		backend := pgproto3.NewBackend(conn, conn)
		if _, err := backend.ReceiveStartupMessage(); err == nil {
			goOn(backend)
		}
	})
}

// letIn lets the client in, and waits for what it asks.
func letIn(backend *pgproto3.Backend) {
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	backend.Flush()
	backend.Receive()
}

// answer is a server that says one thing to whoever comes.
func answer(t *testing.T, message pgproto3.BackendMessage) string {
	t.Helper()
	return begun(t, func(backend *pgproto3.Backend) {
		backend.Send(message)
		backend.Flush()
	})
}

// Whatever SQLSTATE a server sends instead of letting the client in, it is no bug: what
// is known to need a person ends at once, and what may pass is tried again.
func TestRefusedWithEveryState(t *testing.T) {
	for code, want := range map[string]error{
		"00000": ErrUnreachable, "01000": ErrUnreachable, "02000": ErrUnreachable, "03000": ErrUnreachable, "08000": ErrUnreachable,
		"08003": ErrUnreachable, "08004": ErrUnreachable, "08006": ErrUnreachable, "08P01": ErrUnreachable, "09000": ErrUnreachable,
		"0A000": ErrParameter, "0B000": ErrUnreachable, "20000": ErrUnreachable, "21000": ErrUnreachable, "22023": ErrParameter,
		"22000": ErrParameter, "23505": ErrUnreachable, "25006": ErrUnreachable, "25P03": ErrUnreachable, "26000": ErrUnreachable,
		"28000": ErrRefused, "28P01": ErrRefused, "3D000": ErrRefused, "3F000": ErrRefused, "40001": ErrBusy, "42501": ErrRefused,
		"42601": ErrParameter, "42704": ErrParameter, "42883": ErrParameter, "53000": ErrUnreachable, "53100": ErrUnreachable,
		"53200": ErrUnreachable, "53300": ErrUnreachable, "53400": ErrUnreachable, "54000": ErrUnreachable, "55000": ErrRefused,
		"55006": ErrUnreachable, "55P03": ErrBusy, "57000": ErrUnreachable, "57014": ErrUnreachable, "57P01": ErrUnreachable,
		"57P02": ErrUnreachable, "57P03": ErrUnreachable, "57P04": ErrRefused, "57P05": ErrUnreachable, "58000": ErrUnreachable,
		"58030": ErrUnreachable, "58P01": ErrUnreachable, "F0000": ErrUnreachable, "HV000": ErrUnreachable, "HY000": ErrUnreachable,
		"P0001": ErrRefused, "XX000": ErrUnreachable, "XX001": ErrUnreachable, "": ErrUnreachable, "X": ErrUnreachable,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			log, err := do(context.Background(), t, answer(t, &pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "no"}), 50*time.Millisecond)
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			if tried := strings.Contains(log, "waiting"); tried != (want == ErrUnreachable || want == ErrBusy) {
				t.Errorf("tried again: %v\n%s", tried, log)
			}
		})
	}
}

// The words of poolers, as PgBouncer 1.18, 1.24 and 1.26, Odyssey 1.5 and pgpool-II 4.7
// have said them.
func TestWordsOfPoolers(t *testing.T) {
	for message, want := range map[string]verdict{
		"SASL authentication failed":                                                       refuses,
		`password authentication failed for user "app"`:                                    refuses,
		"no such database: nosuch":                                                         refuses,
		`database "missing" does not exist`:                                                refuses,
		"no such user":                                                                     refuses,
		`database "noconn" is not currently accepting connections`:                         refuses,
		`pg_hba.conf rejects connection for host "172.24.0.5"`:                             refuses,
		"login rejected":                                                                   refuses,
		"no authentication method is found":                                                refuses,
		"odyssey: c1: SSL is required":                                                     refuses,
		"SSL required":                                                                     refuses,
		"bouncer config error":                                                             refuses,
		"unsupported startup parameter: options":                                           invalid,
		"unsupported startup parameter in options: search_path":                            invalid,
		"unsupported options startup parameter: only '-c config=val'":                      invalid,
		"invalid server parameter":                                                         invalid,
		"query_wait_timeout":                                                               passes,
		"no more connections allowed (max_client_conn)":                                    passes,
		"sorry, too many clients already":                                                  passes,
		`too many connections for role "lim"`:                                              passes,
		"the database system is starting up":                                               passes,
		"server login has been failing, try again later (server_login_retry)":              passes,
		"server login has been failing, cached error: connect failed (server_login_retry)": passes,
		`server login has been failing, cached error: password authentication failed for user "app" (server_login_retry)`: refuses,
	} {
		for _, code := range []string{"08P01", "XX000"} {
			if got := judgeAnswer(&pgconn.PgError{Code: code, Message: message}); got != want {
				t.Errorf("%s %s: got %v, want %v", code, message, got, want)
			}
		}
		if got := judge(fmt.Errorf("read: %w", &pgconn.PgError{Code: "08P01", Message: message})); got != want {
			t.Errorf("in the middle of the work, %s: got %v, want %v", message, got, want)
		}
	}
}

// What this side does not accept, no retry cures.
func TestRefusedHere(t *testing.T) {
	for name, test := range map[string]struct {
		parameters string
		message    pgproto3.BackendMessage
		want       error
	}{
		"require_auth":          {"require_auth=scram-sha-256", &pgproto3.AuthenticationCleartextPassword{}, ErrRefused},
		"require_auth, none":    {"require_auth=scram-sha-256", &pgproto3.AuthenticationOk{}, ErrRefused},
		"channel binding":       {"channel_binding=require", &pgproto3.AuthenticationMD5Password{}, ErrRefused},
		"client certificate":    {"sslcertmode=require", &pgproto3.AuthenticationOk{}, ErrRefused},
		"unknown SASL":          {"", &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"OAUTHBEARER"}}, ErrRefused},
		"GSSAPI":                {"", &pgproto3.AuthenticationGSS{}, ErrRefused},
		"SASL, and then silent": {"", &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := pgconn.ParseConfig("postgres://user:x@" + answer(t, test.message) + "/db?sslmode=disable&" + test.parameters)
			if err != nil {
				t.Fatal(err)
			}
			err = New(fixed(config), 50*time.Millisecond, slog.New(slog.DiscardHandler)).Do(context.Background(), nil)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A password that is refused is tried again if it is another one meanwhile, and the error
// says if there is none.
func TestPasswordIsRotated(t *testing.T) {
	server := begun(t, func(backend *pgproto3.Backend) {
		backend.Send(&pgproto3.AuthenticationCleartextPassword{})
		backend.Flush()
		backend.SetAuthType(pgproto3.AuthTypeCleartextPassword)
		message, err := backend.Receive()
		if err != nil {
			return
		}
		if password, ok := message.(*pgproto3.PasswordMessage); !ok || password.Password != "third" {
			backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "password authentication failed"})
			backend.Flush()
			return
		}
		letIn(backend)
	})
	for last, works := range map[string]bool{"third": true, "second": false, "": false} {
		passwords := []string{"first", "second", last}
		if last == "" {
			passwords = []string{""}
		}
		asked := 0
		source := func() (*pgconn.Config, error) {
			config, err := pgconn.ParseConfig("postgres://user@" + server + "/db?sslmode=disable")
			if err != nil {
				return nil, err
			}
			config.Password = passwords[min((asked+1)/2, len(passwords)-1)] // asked to connect, then whether it has changed
			asked++
			return config, nil
		}
		var log bytes.Buffer
		err := New(source, time.Second, slog.New(slog.NewTextHandler(&log, nil))).Do(context.Background(),
			func(context.Context, *pgconn.PgConn) (bool, error) { return false, nil })
		if (err == nil) != works || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%q: got %v", last, err)
		}
		if err != nil && strings.Contains(err.Error(), "no password is set (POSTGRES_PASSWORD)") != (last == "") {
			t.Errorf("%q: got %v", last, err)
		}
	}
}

// A file that is just being replaced is read again, and an error of it is that of the
// configuration.
func TestSourceFails(t *testing.T) {
	faulty := errors.New("the file is empty")
	asked := 0
	source := func() (*pgconn.Config, error) {
		asked++
		return nil, faulty
	}
	err := New(source, 100*time.Millisecond, slog.New(slog.DiscardHandler)).Do(context.Background(), nil)
	if !errors.Is(err, faulty) || asked < 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// Each thing is said once, with what a person could look at.
func TestUnreachableInWords(t *testing.T) {
	for address, want := range map[string]string{
		"localhost:1":       "in a container that is the container itself",
		"127.0.0.1:1":       "in a container that is the container itself",
		"0.0.0.0:1":         "in a container that is the container itself",
		"nowhere.invalid:1": "is this container on the database's network?",
	} {
		config, err := pgconn.ParseConfig("postgres://user@" + address + "/db") // with TLS and without
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		err = New(fixed(config), 0, slog.New(slog.NewTextHandler(&log, nil))).Do(context.Background(), nil)
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), want) || !strings.Contains(log.String(), want) {
			t.Errorf("%s: got %v\n%s", address, err, &log)
		}
		for _, once := range []string{"127.0.0.1:1 (", "0.0.0.0:1 (", "lookup nowhere"} {
			if strings.Count(err.Error(), once) > 1 {
				t.Errorf("%s: said more than once: %v", address, err)
			}
		}
	}
}

// pgconn's own look at a connection must not end the program, whatever the server
// answers.
func TestHalfAnAnswer(t *testing.T) {
	server := begun(t, func(backend *pgproto3.Backend) {
		letIn(backend)
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		backend.Flush()
		backend.Receive()
	})
	for _, attribute := range []string{"read-write", "read-only", "primary", "standby", "prefer-standby"} {
		config, err := pgconn.ParseConfig("postgres://user@" + server + "/db?sslmode=disable&target_session_attrs=" + attribute)
		if err != nil {
			t.Fatal(err)
		}
		err = New(fixed(config), 50*time.Millisecond, slog.New(slog.DiscardHandler)).Do(context.Background(), nil)
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: got %v", attribute, err)
		}
	}
}

// What is to be confirmed is tried once more, even if the wait is over.
func TestTriedAnyway(t *testing.T) {
	server := begun(t, letIn)
	config, err := pgconn.ParseConfig("postgres://user@" + server + "/db?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	for anyway, want := range map[bool]int{true: 2, false: 1} {
		attempts, refused := 0, errors.New("refused")
		err := New(fixed(config), 0, slog.New(slog.DiscardHandler)).Do(context.Background(), func(context.Context, *pgconn.PgConn) (bool, error) {
			attempts++
			return false, Again{Err: refused, Anyway: anyway && attempts == 1}
		})
		if !errors.Is(err, refused) || attempts != want {
			t.Errorf("%v: %d attempts, and %v", anyway, attempts, err)
		}
	}
}
