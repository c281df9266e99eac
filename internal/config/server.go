package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"
)

// maxSecretSize bounds what is read from a secret's file: a password, or a URL with several hosts.
const maxSecretSize = 64 << 10

// sqlalchemyDriver is the driver in a URL that is shared with a Python application: postgresql+psycopg://…
var sqlalchemyDriver = regexp.MustCompile(`^postgres(ql)?\+\w+://`)

// isHostName knows names and addresses, with an IPv6 zone. It is there for what is none: a URL or a login.
func isHostName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("._:%-", r)
	})
}

// server returns how to connect: from the URL if there is one, from the single variables otherwise.
func (env environment) server() (*pgconn.Config, error) {
	databaseURL, err := valueOrFile(env.DatabaseURL, "DATABASE_URL_FILE", env.DatabaseURLFile)
	if err != nil {
		return nil, err
	}
	var server *pgconn.Config
	if databaseURL != "" {
		server, err = fromURL(databaseURL)
	} else {
		server, err = env.fromVariables()
	}
	if err != nil {
		return nil, err
	}
	if server.RuntimeParams["application_name"] == "" {
		server.RuntimeParams["application_name"] = "pephub-migrate"
	}
	// Names come as they are compared with, whatever the encoding of the database.
	if server.RuntimeParams["client_encoding"] == "" && !strings.Contains(server.RuntimeParams["options"], "client_encoding") {
		server.RuntimeParams["client_encoding"] = "UTF8"
	}
	return server, nil
}

// valueOrFile returns value, or else the content of the file that the variable name points to, without the newline
// that editors and "kubectl create secret" leave at its end.
func valueOrFile(value, name, path string) (string, error) {
	if value != "" || path == "" {
		return value, nil
	}
	content, err := readSecret(path)
	if err != nil {
		// Without the path: somebody may have put the secret itself there.
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return "", fmt.Errorf("%s cannot be read: %w", name, err)
	}
	if len(content) > maxSecretSize {
		return "", fmt.Errorf("%s is larger than %d bytes; is it the right file?", name, maxSecretSize)
	}
	value = strings.TrimRight(string(content), "\r\n")
	if value == "" {
		return "", fmt.Errorf("%s points to an empty file", name)
	}
	return value, nil
}

// readSecret reads one byte more than a secret may have, if there are as many.
func readSecret(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxSecretSize+1))
}

// fromURL parses a connection URL or libpq keywords. A malformed one is never repeated, not even in part: the parts
// of a URL whose password lacks its percent-encoding are pieces of the password.
func fromURL(databaseURL string) (*pgconn.Config, error) {
	databaseURL = sqlalchemyDriver.ReplaceAllString(databaseURL, "postgresql://")
	if strings.Contains(databaseURL, "://") {
		parsed, err := url.Parse(databaseURL)
		if err != nil || strings.Count(databaseURL, "@") > 1 || parsed.User == nil && strings.Contains(databaseURL, "@") {
			return nil, errors.New("DATABASE_URL is not a URL; percent-encode what is special in the password")
		}
		if parsed.Scheme != "postgres" && parsed.Scheme != "postgresql" {
			return nil, errors.New("DATABASE_URL must begin with postgres:// or postgresql://")
		}
	}
	server, err := pgconn.ParseConfig(databaseURL)
	if err != nil {
		return nil, errors.New("DATABASE_URL, or one of libpq's PG… variables, cannot be understood; " +
			"see the PostgreSQL documentation on connection strings")
	}
	if !onlyKnownParameters(server) {
		return nil, errors.New("DATABASE_URL has a parameter that is not libpq's; remove what is meant for another program")
	}
	for _, required := range []struct{ what, value, variable string }{
		{"host", given(databaseURL, "host"), "PGHOST"},
		{"database", server.Database, "PGDATABASE"},
		{"user", given(databaseURL, "user"), "PGUSER"},
	} {
		if required.value == "" && os.Getenv(required.variable) == "" {
			return nil, fmt.Errorf("DATABASE_URL names no %s", required.what)
		}
	}
	return server, nil
}

// onlyKnownParameters reports whether all that pgconn would pass on to the server is meant for it. The rest may be
// for another client library, or a piece of a password that lacks its quotes.
func onlyKnownParameters(server *pgconn.Config) bool {
	for name := range server.RuntimeParams {
		switch name {
		case "application_name", "client_encoding", "options", "search_path", "timezone":
		default:
			return false
		}
	}
	return true
}

// given returns what a well-formed connection string says of host or user, for which pgconn has defaults: the local
// socket, and the name of the operating system's user.
func given(databaseURL, keyword string) string {
	if !strings.Contains(databaseURL, "://") {
		return regexp.MustCompile(`(?:^|\s)` + keyword + `\s*=\s*\S+`).FindString(databaseURL)
	}
	parsed, err := url.Parse(databaseURL)
	if err != nil {
		return ""
	}
	inAuthority := map[string]string{"host": parsed.Host, "user": parsed.User.Username()}[keyword]
	return cmp.Or(parsed.Query().Get(keyword), inAuthority)
}

// fromVariables puts the single variables together. libpq's own stand in for those that are not set, so that the
// environment of psql serves too.
func (env environment) fromVariables() (*pgconn.Config, error) {
	host := cmp.Or(env.Host, os.Getenv("PGHOST"))
	database := cmp.Or(env.Database, os.Getenv("PGDATABASE"))
	user := cmp.Or(env.User, os.Getenv("PGUSER"))
	for _, required := range []struct{ name, value string }{
		{"POSTGRES_HOST", host},
		{"POSTGRES_DB", database},
		{"POSTGRES_USER", user},
	} {
		if required.value == "" {
			return nil, fmt.Errorf("%s is not set; set it, or DATABASE_URL", required.name)
		}
	}
	for name, value := range map[string]string{"POSTGRES_DB": database, "POSTGRES_USER": user} {
		// pgconn names both in its errors, and one that is a connection string holds the password.
		if strings.Contains(value, "://") || strings.Contains(value, "=") {
			return nil, fmt.Errorf("%s must be a name; for a URL or libpq's keywords there is DATABASE_URL", name)
		}
	}
	hosts, ports, err := splitHosts(host, cmp.Or(env.port(), os.Getenv("PGPORT"), "5432"))
	if err != nil {
		return nil, err
	}
	password, err := valueOrFile(env.Password, "POSTGRES_PASSWORD_FILE", env.PasswordFile)
	if err != nil {
		return nil, err
	}
	// The password stays out of the text, so the parser's complaints can be shown.
	server, err := pgconn.ParseConfig(fmt.Sprintf("host=%s port=%s dbname=%s user=%s",
		quote(hosts), quote(ports), quote(database), quote(user)))
	if err != nil {
		return nil, err
	}
	if password != "" {
		server.Password = password
	}
	return server, nil
}

// port returns POSTGRES_PORT, unless it is what Kubernetes sets for a Service that is named "postgres":
// tcp://10.96.0.1:5432.
func (env environment) port() string {
	if strings.HasPrefix(env.Port, "tcp://") {
		return ""
	}
	return env.Port
}

// splitHosts turns "db", "db:5433", "a,b:5433", "[::1]:5432" or "/run/postgresql" into libpq's two parallel lists.
func splitHosts(host, defaultPort string) (hosts, ports string, err error) {
	var hostList, portList []string
	for one := range strings.SplitSeq(host, ",") {
		one = strings.TrimSpace(one)
		port := defaultPort
		if _, err := netip.ParseAddr(one); err != nil && !strings.HasPrefix(one, "/") {
			if h, p, err := net.SplitHostPort(one); err == nil {
				one, port = h, p
			}
		}
		one = strings.TrimSuffix(strings.TrimPrefix(one, "["), "]")
		if one == "" {
			return "", "", errors.New("POSTGRES_HOST has an empty host in it")
		}
		if !isHostName(one) && !strings.HasPrefix(one, "/") {
			return "", "", errors.New("POSTGRES_HOST must be a host name or address, host:port, or several with commas; " +
				"for a URL there is DATABASE_URL")
		}
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return "", "", errors.New("POSTGRES_PORT, or the port in POSTGRES_HOST, must be a number from 1 to 65535")
		}
		hostList = append(hostList, one)
		portList = append(portList, port)
	}
	return strings.Join(hostList, ","), strings.Join(portList, ","), nil
}

// quote makes s a value in libpq's keyword syntax.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
