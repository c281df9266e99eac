package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// verdict is what becomes of a setting of libpq's.
type verdict int

const (
	honoured verdict = iota // by pgconn, or by this package
	harmless                // it has no effect here, and without it nothing is less safe
	refused                 // it cannot be done, and to ignore it would not be what was asked for
)

// parameter is a setting of libpq's. Either name may be empty: some have no place in a
// connection string, others none in the environment.
type parameter struct {
	keyword  string // in a connection string
	variable string // in the environment
	verdict  verdict
	unless   string // of a refused one: values, with blanks between, that ask for nothing
	instead  string // of a refused one: what to do instead
}

// libpq returns every setting that the PostgreSQL 18 documentation of libpq has in its
// sections "Parameter Key Words" and "Environment Variables". A test holds it against a
// server's own libpq.
func libpq() []parameter {
	const noKerberos, noOAuth = "this program does not speak GSSAPI", "this program does not speak OAuth; use a password or a certificate"
	return []parameter{
		{keyword: "host", variable: "PGHOST"},
		{keyword: "hostaddr", variable: "PGHOSTADDR"},
		{keyword: "port", variable: "PGPORT"},
		{keyword: "dbname", variable: "PGDATABASE"},
		{keyword: "user", variable: "PGUSER"},
		{keyword: "password", variable: "PGPASSWORD"},
		{keyword: "passfile", variable: "PGPASSFILE"},
		{keyword: "require_auth", variable: "PGREQUIREAUTH"},
		{keyword: "channel_binding", variable: "PGCHANNELBINDING"},
		{keyword: "connect_timeout", variable: "PGCONNECT_TIMEOUT"},
		{keyword: "client_encoding", variable: "PGCLIENTENCODING"},
		{keyword: "options", variable: "PGOPTIONS"},
		{keyword: "application_name", variable: "PGAPPNAME"},
		{keyword: "fallback_application_name", verdict: harmless}, // this program's own is its name
		{keyword: "keepalives"},
		{keyword: "keepalives_idle"},
		{keyword: "keepalives_interval"},
		{keyword: "keepalives_count"},
		{keyword: "tcp_user_timeout"},
		{keyword: "replication", verdict: refused, unless: "0 false off no", instead: "a replication connection cannot upgrade anything"},
		{keyword: "gssencmode", variable: "PGGSSENCMODE", verdict: refused, unless: "disable prefer", instead: noKerberos + "; use TLS: PGSSLMODE"},
		{keyword: "sslmode", variable: "PGSSLMODE"},
		{keyword: "requiressl", variable: "PGREQUIRESSL", verdict: refused, unless: "0", instead: "set PGSSLMODE=require"},
		{keyword: "sslnegotiation", variable: "PGSSLNEGOTIATION"},
		{keyword: "sslcompression", variable: "PGSSLCOMPRESSION", verdict: harmless}, // servers have given it up
		{keyword: "sslcert", variable: "PGSSLCERT"},
		{keyword: "sslkey", variable: "PGSSLKEY"},
		{keyword: "sslkeylogfile", verdict: harmless}, // for debugging
		{keyword: "sslpassword", variable: "PGSSLPASSWORD"},
		{keyword: "sslcertmode", variable: "PGSSLCERTMODE"},
		{keyword: "sslrootcert", variable: "PGSSLROOTCERT"},
		{keyword: "sslcrl", variable: "PGSSLCRL"},
		{keyword: "sslcrldir", variable: "PGSSLCRLDIR"},
		{keyword: "sslsni", variable: "PGSSLSNI"},
		{keyword: "requirepeer", variable: "PGREQUIREPEER", verdict: refused, instead: "this program cannot tell who owns a socket; unset it"},
		{keyword: "ssl_min_protocol_version", variable: "PGSSLMINPROTOCOLVERSION"},
		{keyword: "ssl_max_protocol_version", variable: "PGSSLMAXPROTOCOLVERSION"},
		{keyword: "min_protocol_version", variable: "PGMINPROTOCOLVERSION"},
		{keyword: "max_protocol_version", variable: "PGMAXPROTOCOLVERSION"},
		{keyword: "krbsrvname", variable: "PGKRBSRVNAME", verdict: harmless},
		{keyword: "gsslib", variable: "PGGSSLIB", verdict: harmless},
		{keyword: "gssdelegation", variable: "PGGSSDELEGATION", verdict: harmless},
		{keyword: "scram_client_key", verdict: refused, instead: "give the password"},
		{keyword: "scram_server_key", verdict: refused, instead: "give the password"},
		{keyword: "service", variable: "PGSERVICE"},
		{keyword: "servicefile", variable: "PGSERVICEFILE"},
		{keyword: "target_session_attrs", variable: "PGTARGETSESSIONATTRS"},
		{keyword: "load_balance_hosts", variable: "PGLOADBALANCEHOSTS", verdict: harmless}, // one connection is no load
		{keyword: "oauth_issuer", verdict: refused, instead: noOAuth},
		{keyword: "oauth_client_id", verdict: refused, instead: noOAuth},
		{keyword: "oauth_client_secret", verdict: refused, instead: noOAuth},
		{keyword: "oauth_scope", verdict: refused, instead: noOAuth},
		{variable: "PGOAUTHDEBUG", verdict: harmless},
		{keyword: "timezone", variable: "PGTZ"},
		{keyword: "search_path"},                      // no keyword of libpq's, but pgx's users give it
		{variable: "PGDATESTYLE", verdict: harmless},  // no date is read as text
		{variable: "PGGEQO", verdict: harmless},       // no query has that many tables
		{variable: "PGLOCALEDIR", verdict: harmless},  // messages are the server's
		{variable: "PGSYSCONFDIR", verdict: harmless}, // without it a service is not found, and that is an error
	}
}

// refuses reports whether a value of a parameter asks for what cannot be done.
func (p parameter) refuses(value string) bool {
	return p.verdict == refused && value != "" && !slices.Contains(strings.Fields(p.unless), value)
}

// ignored names the variables that are set and have no effect.
func ignored() []string {
	var names []string
	for _, p := range libpq() {
		if p.verdict == harmless && p.variable != "" && os.Getenv(p.variable) != "" {
			names = append(names, p.variable)
		}
	}
	return names
}

// forServer are the parameters that go to the server as they are, by the names that
// pgconn has for them.
func forServer() []string {
	return []string{"application_name", "client_encoding", "options", "search_path", "timezone"}
}

// settings are libpq's parameters that pgconn does not know, and that this package
// honours; by keyword.
type settings map[string]string

// takeSettings takes out of a configuration what pgconn would hand to the server for want
// of a better idea, and returns it, with what the environment says beside it. It returns
// an error that names what cannot be honoured. names says whether a parameter that is
// unknown may be named: it may be a piece of a password.
func takeSettings(server *pgconn.Config, names bool) (settings, error) {
	known := map[string]parameter{}
	taken := settings{}
	for _, p := range libpq() {
		known[p.keyword] = p
		value := os.Getenv(p.variable)
		if p.variable != "" && p.refuses(value) {
			return nil, fmt.Errorf("%s asks for what cannot be done here: %s", p.variable, p.instead)
		}
		taken[p.keyword] = value
	}
	for keyword, value := range server.RuntimeParams {
		p, ok := known[keyword]
		switch {
		case slices.Contains(forServer(), keyword):
			continue
		case !ok && names:
			return nil, fmt.Errorf("DATABASE_URL has a parameter %q, which is not libpq's; remove what is meant for another program", keyword)
		case !ok:
			return nil, errors.New("DATABASE_URL, or the service it names, has a parameter that is not libpq's; " +
				"remove what is meant for another program, and quote values with blanks in them")
		case p.refuses(value):
			return nil, fmt.Errorf("the parameter %s asks for what cannot be done here: %s", keyword, p.instead)
		}
		taken[keyword] = value
		delete(server.RuntimeParams, keyword)
	}
	return taken, nil
}
