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
	featureNotSupported   = "0A"
	dataException         = "22"
	invalidAuthorization  = "28"
	invalidCatalogName    = "3D"
	invalidSchemaName     = "3F"
	syntaxOrAccess        = "42"
	procedureRaised       = "P0"
	internalError         = "XX"
	readOnlyTransaction   = "25006"
	idleInTransaction     = "25P03"
	transactionTimeout    = "25P04"
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	insufficientPrivilege = "42501"
	wrongObjectType       = "42809"
	undefinedTable        = "42P01"
	notAccepting          = "55000" // a database with ALLOW_CONNECTIONS false
	lockNotAvailable      = "55P03"
	tooManyConnections    = "53300"
	adminShutdown         = "57P01"
	crashShutdown         = "57P02"
	cannotConnectNow      = "57P03"
	databaseDropped       = "57P04"
	idleSession           = "57P05"
	queryCanceled         = "57014"
)

// verdict is what an error says of further attempts.
type verdict int

const (
	final   verdict = iota // none of the kinds below: the work's own business
	passes                 // a later attempt may succeed
	refuses                // somebody must grant something, or correct credentials
	invalid                // a parameter of the connection is wrong
)

// judge returns the verdict on an error that left nothing behind.
func judge(err error) verdict {
	switch {
	case errors.Is(err, ErrBusy), errors.Is(err, ErrUnable), errors.Is(err, errLost), isAgain(err), isReadOnly(err):
		return passes
	case errors.As(err, new(*pgconn.ConnectError)):
		return judgeConnecting(attempts(err))
	}
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr):
		return judgeWorking(pgErr)
	case isTLS(err):
		return refuses
	case isNetwork(err):
		return passes
	}
	return final
}

// judgeWorking is the verdict on an answer of the server in the middle of the work. What
// a failed statement means is for whoever sent it to say; here are the states of the
// server, and of its other sessions.
func judgeWorking(err *pgconn.PgError) verdict {
	switch err.Code {
	case serializationFailure, deadlockDetected, lockNotAvailable,
		tooManyConnections, adminShutdown, crashShutdown, cannotConnectNow,
		idleInTransaction, transactionTimeout, idleSession, // this program was stopped for a while
		queryCanceled: // not by us: a statement_timeout of the role, or an administrator
		return passes
	case insufficientPrivilege, databaseDropped:
		return refuses
	case notAccepting:
		if err.Severity == "FATAL" { // of a pooler, which connects when there is something to do
			return refuses
		}
	}
	switch class(err.Code) {
	case connectionException: // of a pooler, which connects when there is something to do
		return judgePooler(err.Message)
	case invalidAuthorization, invalidCatalogName, invalidSchemaName:
		return refuses
	}
	return final
}

// judgeConnecting is the verdict on an attempt to connect, of which errs are what became
// of each host and address. What a server has said counts for more than that another one
// could not be reached.
func judgeConnecting(errs []error) verdict {
	worst := final
	for _, err := range errs {
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) {
			continue
		}
		switch v := judgeAnswer(pgErr); {
		case v == passes:
			return passes
		case worst == final:
			worst = v
		}
	}
	if worst != final {
		return worst
	}
	for _, err := range errs {
		if !isTLS(err) && !isRefusedHere(err) {
			return passes
		}
	}
	return refuses
}

// judgeAnswer is the verdict on what a server, or a pooler in front of it, says instead
// of letting the client in. Whatever it is, it is no bug of this program: what is not
// known to be final may pass.
func judgeAnswer(err *pgconn.PgError) verdict {
	switch err.Code {
	case insufficientPrivilege, notAccepting, databaseDropped:
		return refuses
	}
	switch class(err.Code) {
	case invalidAuthorization, invalidCatalogName, invalidSchemaName,
		procedureRaised: // by a login trigger
		return refuses
	case featureNotSupported, dataException, syntaxOrAccess: // what the startup message asks for
		return invalid
	case connectionException, internalError:
		return judgePooler(err.Message)
	}
	return passes
}

// isReadOnly recognises a standby, also one that was the primary when the work began.
func isReadOnly(err error) bool {
	return errors.Is(err, ErrStandby) || sqlState(err) == readOnlyTransaction
}

// IsLockTimeout reports whether a statement gave up because somebody else held a lock for
// longer than lock_timeout.
func IsLockTimeout(err error) bool { return sqlState(err) == lockNotAvailable }

// IsUndefinedTable reports whether a statement named a table that is not there.
func IsUndefinedTable(err error) bool { return sqlState(err) == undefinedTable }

// IsCatalogChange reports whether a statement failed in a way in which it does if
// somebody else makes, drops or alters objects at the same time: names that are taken, or
// gone, since they were looked for.
func IsCatalogChange(err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return false
	}
	switch pgErr.Code {
	case "42P07", "42710", "42701", "42P06", "42723", // duplicate table, object, column, schema, function
		undefinedTable, "42703", "42704", "42883", wrongObjectType, // undefined column, object, function
		"2BP01", // others depend on it
		"XX000": // tuple concurrently updated, cache lookup failed
		return true
	case "23505": // two have made the same thing, and a catalog's index tells
		return pgErr.SchemaName == "pg_catalog"
	}
	return false
}

// IsAnswer reports whether an error is something that the server has said, and not a
// connection that failed.
func IsAnswer(err error) bool { return sqlState(err) != "" }

// IsSilence reports whether a connection could not be made, and nothing has answered that
// says why.
func IsSilence(err error) bool {
	return errors.As(err, new(*pgconn.ConnectError)) && !IsAnswer(err) && !errors.Is(err, pgconn.ErrReadOnlyConnection)
}

// IsUnable reports whether the server has answered that it cannot do what it should just
// now, or for a reason of its own: out of resources, an operator's intervention, a system
// or internal error.
func IsUnable(err error) bool {
	return slices.Contains([]string{"53", "54", "57", "58", "F0", "XX"}, class(sqlState(err)))
}

// IsClassified reports whether Do knows what to do about an error by itself.
func IsClassified(err error) bool { return judge(err) != final }

// IsOfAnotherKind reports whether a statement named a table, and found something else by
// that name.
func IsOfAnotherKind(err error) bool {
	return strings.HasPrefix(sqlState(err), featureNotSupported) || sqlState(err) == wrongObjectType
}

func isAgain(err error) bool { return errors.As(err, new(Again)) }

func isAnyway(err error) bool {
	var again Again
	return errors.As(err, &again) && again.Anyway
}

func isBusy(err error) bool {
	switch sqlState(err) {
	case lockNotAvailable, deadlockDetected, serializationFailure:
		return true
	}
	return errors.Is(err, ErrBusy)
}

// classify adds the class of an error that no retry cures, if it has one.
func classify(err error, config *pgconn.Config) error {
	kind := map[verdict]error{refuses: ErrRefused, invalid: ErrParameter}[judge(err)]
	if kind == nil {
		return err
	}
	if config != nil && config.Password == "" && isWrongPassword(err) {
		return fmt.Errorf("%w: no password is set (POSTGRES_PASSWORD): %w", kind, brief(err))
	}
	return fmt.Errorf("%w: %w", kind, brief(err))
}

// isWrongPassword recognises a server that does not take the password, or wants one.
func isWrongPassword(err error) bool {
	return slices.Contains([]string{invalidAuthorization, connectionException, internalError}, class(sqlState(err)))
}

// abridged is an error that is said in other words than its own.
type abridged struct {
	error
	text string
}

func (a abridged) Error() string { return a.text }
func (a abridged) Unwrap() error { return a.error }

// brief says what became of an attempt to connect: each thing once, with what a person
// could look at. It leaves out that a server has no TLS where it was then asked without:
// sslmode=prefer, the default, tries both, and what the second try met is what counts.
func brief(err error) error {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return err
	}
	tries := attempts(err)
	if kept := slices.DeleteFunc(slices.Clone(tries), refusesTLS); len(kept) > 0 {
		tries = kept
	}
	var lines []string
	for _, try := range tries {
		if line := try.Error() + advice(try); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return abridged{err, fmt.Sprintf("failed to connect to `user=%s database=%s`: %s",
		connect.Config.User, connect.Config.Database, strings.Join(lines, "; "))}
}

// advice is what a person could look at, for an address that cannot be reached; in a
// clause, or nothing.
func advice(err error) string {
	var dns *net.DNSError
	var dial *net.OpError
	if errors.As(err, &dns) {
		return " (is this container on the database's network?)"
	}
	if errors.As(err, &dial) && dial.Op == "dial" {
		if address, ok := dial.Addr.(*net.TCPAddr); ok && (address.IP.IsLoopback() || address.IP.IsUnspecified()) {
			return " (in a container that is the container itself: give the host by the name that it has on the network)"
		}
	}
	return ""
}

// isTLS recognises a certificate that is not to be trusted, on either side, and a server
// that does not speak TLS, or not in a way that both sides like. With sslmode verify-ca
// pgconn checks the certificate itself, so that crypto/tls's own error is missing.
func isTLS(err error) bool {
	var alert tls.AlertError
	if errors.As(err, &alert) {
		const internalError, userCanceled = 80, 90
		return alert != internalError && alert != userCanceled
	}
	return errors.As(err, new(*tls.CertificateVerificationError)) ||
		errors.As(err, new(x509.UnknownAuthorityError)) ||
		errors.As(err, new(x509.CertificateInvalidError)) ||
		errors.As(err, new(x509.HostnameError)) ||
		errors.As(err, new(tls.RecordHeaderError)) ||
		refusesTLS(err) ||
		strings.Contains(err.Error(), "tls error: ") && !isLost(err)
}

// isRefusedHere recognises a server that this side does not accept, or cannot prove
// itself to: require_auth, channel binding, sslcertmode, a method of authentication that
// pgconn does not know. pgconn has no names for these, only words.
func isRefusedHere(err error) bool {
	for _, words := range []string{
		"require_auth check failed", "channel binding check failed", "sslcertmode check failed", "failed SASL auth", "failed GSS auth",
		"unknown authentication type",
	} {
		if strings.Contains(err.Error(), words) {
			return !isLost(err)
		}
	}
	return false
}

// isLost recognises a connection that broke, or was silent for too long.
func isLost(err error) bool {
	return errors.As(err, new(net.Error)) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// refusesTLS knows the words in which pgconn says that a server was asked for TLS and has
// none; it has no name for it.
func refusesTLS(err error) bool {
	return strings.Contains(err.Error(), "server refused TLS connection")
}

// attempts returns what went wrong at each host and address that one call of pgconn
// tried, or else err alone.
func attempts(err error) []error {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return []error{err}
	}
	for cause := connect.Unwrap(); cause != nil; cause = errors.Unwrap(cause) {
		if joined, ok := cause.(interface{ Unwrap() []error }); ok {
			return joined.Unwrap()
		}
	}
	return []error{err}
}

// isNetwork recognises a connection that could not be made or was lost. Everything that
// pgconn reports while it connects, and that is not an answer of the server, is of this
// kind.
func isNetwork(err error) bool {
	return errors.As(err, new(*pgconn.ConnectError)) || errors.Is(err, pgconn.ErrConnClosed) || isLost(err)
}

// reason says in a few words what is being waited for, without addresses: a log line for
// each would say no more.
func reason(err error) string {
	var pgErr *pgconn.PgError
	var dnsErr *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrBusy), errors.Is(err, ErrStandby), errors.Is(err, ErrUnable), isAgain(err):
		return err.Error()
	case errors.As(err, &pgErr):
		return pgErr.Message
	case errors.As(err, &dnsErr):
		return "lookup of " + dnsErr.Name + " failed" + advice(err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection lost" // which of them it is depends on who is quicker
	case errors.As(err, &errno):
		return errno.Error() + advice(err)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case errors.Is(err, pgconn.ErrReadOnlyConnection):
		return ErrStandby.Error()
	case refusesTLS(err):
		return "the server does not speak TLS, and sslmode wants it"
	case errors.As(err, new(*pgconn.ConnectError)):
		return "no connection"
	}
	return "connection lost"
}

// class returns the class of a SQLSTATE, which a server may have sent too short.
func class(code string) string { return code[:min(2, len(code))] }

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// judgePooler is the verdict on a protocol violation (08P01) or an internal error
// (XX000), by which poolers say nearly everything; older ones also for what their server
// has said to them. Only the words tell. PgBouncer 1.18, 1.24 and 1.26, pgpool-II and
// Odyssey were asked for them.
func judgePooler(message string) verdict {
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(message, w) })
	}
	switch {
	case says("backend authentication failed"): // pgpool-II, of a wrong password and of a server that starts up alike
		return passes
	case says("unsupported startup parameter", "unsupported options startup parameter", "invalid server parameter",
		"unrecognized configuration parameter", "invalid value for parameter"):
		return invalid
	case says("authentication failed", "auth failed", "failed to authenticate", "login rejected", "no authentication method is found",
		"no such user", "no such database", "does not exist", "pg_hba.conf", "permission denied", "not permitted to log in",
		"not currently accepting connections", "is disabled", "password not found", "SSL required", "SSL is required", "bouncer config error"):
		return refuses
	}
	return passes
}
