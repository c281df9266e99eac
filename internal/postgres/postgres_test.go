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
		"not yet":              {Again{errors.New("x")}, true, false, false},
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
		"a bug":                {errors.New("nil"), false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := retryable(test.err); got != test.retryable {
				t.Errorf("retryable: %v", got)
			}
			if got := errors.Is(classify(test.err), ErrRefused); got != test.refused {
				t.Errorf("refused: %v", got)
			}
			if got := errors.Is(giveUp(test.err, 0), ErrBusy); got != test.busy {
				t.Errorf("busy: %v", got)
			}
			if !errors.Is(classify(test.err), test.err) || !errors.Is(giveUp(test.err, 0), test.err) {
				t.Error("the cause is lost")
			}
		})
	}
}

// do tries to reach a listener and returns the log and the error.
func do(ctx context.Context, t *testing.T, address string, wait time.Duration) (string, error) {
	t.Helper()
	config, err := pgconn.ParseConfig("postgres://user:s3cret@" + address + "/db?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	err = New(config, wait, slog.New(slog.NewTextHandler(&log, nil))).Do(ctx, func(context.Context, *pgconn.PgConn) (bool, error) {
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

// One host that failed for a passing reason is worth another try, whatever is wrong with the others.
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
			err = New(config, 50*time.Millisecond, slog.New(slog.DiscardHandler)).Do(context.Background(), nil)
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
