package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes and classes, from appendix A of the PostgreSQL documentation.
const (
	successfulCompletion  = "00000"
	connectionException   = "08"
	invalidAuthorization  = "28"
	tooManyConnections    = "53300"
	invalidCatalogName    = "3D000"
	invalidSchemaName     = "3F000"
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	insufficientPrivilege = "42501"
	undefinedTable        = "42P01"
	wrongObjectType       = "42809"
	featureNotSupported   = "0A000"
	lockNotAvailable      = "55P03"
	adminShutdown         = "57P01"
	crashShutdown         = "57P02"
	cannotConnectNow      = "57P03"
	queryCanceled         = "57014"
	readOnlyTransaction   = "25006"
)

// retryable reports whether a later attempt may succeed where this one failed with err and left nothing behind.
func retryable(err error) bool {
	if errors.Is(err, ErrBusy) || isAgain(err) || isReadOnly(err) {
		return true
	}
	if code := sqlState(err); code != "" {
		return isPassing(code)
	}
	if isTLS(err) {
		return false
	}
	return isNetwork(err)
}

// isPassing knows the states of the server, or of its other sessions, that pass.
func isPassing(code string) bool {
	switch code {
	case tooManyConnections,
		serializationFailure, deadlockDetected, lockNotAvailable,
		adminShutdown, crashShutdown, cannotConnectNow,
		queryCanceled: // not by us: a statement_timeout of the role, or an administrator
		return true
	}
	// The class includes 08P01, by which PgBouncer says that it cannot reach its server just now.
	return strings.HasPrefix(code, connectionException)
}

// isReadOnly recognises a standby, also one that was the primary when the work began.
func isReadOnly(err error) bool {
	return errors.Is(err, ErrStandby) || sqlState(err) == readOnlyTransaction
}

// IsLockTimeout reports whether a statement gave up because somebody else held a lock for longer than lock_timeout.
func IsLockTimeout(err error) bool { return sqlState(err) == lockNotAvailable }

// IsUndefinedTable reports whether a statement named a table that is not there.
func IsUndefinedTable(err error) bool { return sqlState(err) == undefinedTable }

// IsOfAnotherKind reports whether a statement named a table, and found something else by that name.
func IsOfAnotherKind(err error) bool {
	return sqlState(err) == featureNotSupported || sqlState(err) == wrongObjectType
}

func isAgain(err error) bool { return errors.As(err, new(Again)) }

func isBusy(err error) bool {
	switch sqlState(err) {
	case lockNotAvailable, deadlockDetected, serializationFailure:
		return true
	}
	return errors.Is(err, ErrBusy)
}

// classify adds ErrRefused to an error for which the server's owner must grant something.
func classify(err error) error {
	code := sqlState(err)
	if isTLS(err) || strings.HasPrefix(code, invalidAuthorization) ||
		code == invalidCatalogName || code == invalidSchemaName || code == insufficientPrivilege {
		return fmt.Errorf("%w: %w", ErrRefused, brief(err))
	}
	return err
}

// abridged is an error of which a person need not read all.
type abridged struct {
	error
	text string
}

func (a abridged) Error() string { return a.text }
func (a abridged) Unwrap() error { return a.error }

// brief leaves out that a server has no TLS where it was then asked without: sslmode=prefer, the default, tries both, and
// what the second try met is what counts.
func brief(err error) error {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return err
	}
	tries := attempts(err)
	kept := slices.DeleteFunc(slices.Clone(tries), refusesTLS)
	if len(kept) == 0 || len(kept) == len(tries) {
		return err
	}
	return abridged{err, fmt.Sprintf("failed to connect to `user=%s database=%s`: %v",
		connect.Config.User, connect.Config.Database, errors.Join(kept...))}
}

// isTLS recognises a certificate that is not to be trusted, and a server that does not speak TLS. A retry would find
// the same one, unless one of several hosts failed for another reason. With sslmode verify-ca pgconn checks the
// certificate itself, so that crypto/tls's own error is missing.
func isTLS(err error) bool {
	for _, attempt := range attempts(err) {
		if !errors.As(attempt, new(*tls.CertificateVerificationError)) &&
			!errors.As(attempt, new(x509.UnknownAuthorityError)) &&
			!errors.As(attempt, new(x509.CertificateInvalidError)) &&
			!errors.As(attempt, new(x509.HostnameError)) &&
			!errors.As(attempt, new(tls.RecordHeaderError)) &&
			!refusesTLS(attempt) {
			return false
		}
	}
	return true
}

// refusesTLS knows the words in which pgconn says that a server was asked for TLS and has none; it has no name for it.
func refusesTLS(err error) bool {
	return strings.Contains(err.Error(), "server refused TLS connection")
}

// attempts returns what went wrong at each host and address that one call of pgconn tried, or else err alone.
func attempts(err error) []error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		if joined, ok := connect.Unwrap().(interface{ Unwrap() []error }); ok {
			return joined.Unwrap()
		}
	}
	return []error{err}
}

// isNetwork recognises a connection that could not be made or was lost. Everything that pgconn reports while it
// connects, and that is not an answer of the server, is of this kind.
func isNetwork(err error) bool {
	return errors.As(err, new(*pgconn.ConnectError)) ||
		errors.As(err, new(net.Error)) ||
		errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF)
}

// reason says in a few words what is being waited for, without addresses: a log line for each would say no more.
func reason(err error) string {
	var pgErr *pgconn.PgError
	var dnsErr *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrBusy), errors.Is(err, ErrStandby), isAgain(err):
		return err.Error()
	case errors.As(err, &pgErr):
		return pgErr.Message
	case errors.As(err, &dnsErr):
		return "lookup of " + dnsErr.Name + " failed"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection lost" // which of them it is depends on who is quicker
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case strings.Contains(err.Error(), "read only connection"): // pgconn has no name for it
		return ErrStandby.Error()
	case refusesTLS(err):
		return "the server does not speak TLS, and sslmode wants it"
	case errors.As(err, new(*pgconn.ConnectError)):
		return "no connection"
	}
	return "connection lost"
}

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
