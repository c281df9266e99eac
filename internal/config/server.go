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
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/jackc/pgservicefile"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxSecretSize bounds what is read from a secret's file: a password, or a URL with
// several hosts.
const maxSecretSize = 64 << 10

// sqlalchemyDriver is the driver in a URL that is shared with a Python application:
// postgresql+psycopg://…
var sqlalchemyDriver = regexp.MustCompile(`^postgres(ql)?\+\w+://`)

// isHostName knows names and addresses, with an IPv6 zone. It is there for what is none:
// a URL or a login.
func isHostName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("._:%-", r)
	})
}

// connection is server with the class of its errors.
func (env environment) connection() (*pgconn.Config, error) {
	server, err := env.server()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return server, nil
}

// server returns how to connect: from the URL if there is one, from the single variables
// otherwise.
func (env environment) server() (*pgconn.Config, error) {
	databaseURL, err := valueOrFile(env.DatabaseURL, "DATABASE_URL_FILE", env.DatabaseURLFile)
	if err != nil {
		return nil, err
	}
	var server *pgconn.Config
	var more settings
	if databaseURL != "" {
		server, more, err = fromURL(databaseURL)
	} else {
		server, more, err = env.fromVariables()
	}
	if err != nil {
		return nil, err
	}
	if err := more.dial(server); err != nil {
		return nil, err
	}
	if err := env.secure(server, more); err != nil {
		return nil, err
	}
	if server.ValidateConnect != nil && (env.Action == Up || env.Action == Down) {
		// Whatever kind of server is asked for by target_session_attrs: who writes needs
		// one that can be written to.
		server.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	params := server.RuntimeParams
	params["application_name"] = cmp.Or(params["application_name"], "pephub-migrate")
	// Names come as they are compared with, whatever the encoding of the database.
	params["client_encoding"] = cmp.Or(params["client_encoding"], more["client_encoding"])
	if encoding := params["client_encoding"]; encoding == "" || encoding == "auto" {
		params["client_encoding"] = "UTF8"
		if strings.Contains(params["options"], "client_encoding") {
			delete(params, "client_encoding")
		}
	}
	return server, nil
}

// parse is pgconn's, with an error that can be shown. name is the variable that holds the
// connection string.
func parse(connection, name string) (*pgconn.Config, error) {
	server, err := pgconn.ParseConfig(connection)
	if err == nil {
		return server, nil
	}
	if _, err := pgconn.ParseConfig(""); err != nil {
		return nil, fmt.Errorf("libpq's PG... variables cannot be understood: %s", reason(err))
	}
	if text := reason(err); !strings.Contains(text, "failed to parse as") {
		return nil, fmt.Errorf("%s cannot be understood: %s", name, text)
	}
	return nil, fmt.Errorf("%s cannot be understood; percent-encode what is special in the password, "+
		"and see the PostgreSQL documentation on connection strings", name)
}

// reason is what pgconn says is wrong, without the text that it could not understand:
// that may hold a password.
func reason(err error) string {
	text := err.Error()
	if strings.Contains(text, "-----BEGIN") {
		return "the text of a certificate or key is where a path belongs; give it as POSTGRES_SSL..._PEM"
	}
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	return text
}

// valueOrFile returns value, or else the content of the file that the variable name
// points to, without the newline that editors and "kubectl create secret" leave at its
// end.
func valueOrFile(value, name, path string) (string, error) {
	if value != "" || path == "" {
		return value, nil
	}
	content, err := readSecret(path)
	switch {
	case errors.Is(err, syscall.EISDIR):
		return "", fmt.Errorf("%s points to a folder; Docker makes one where the file to be mounted is missing on the host", name)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%s cannot be read by user %d, as which this program runs: make that the owner of the file "+
			"(chown %[2]d), or run the container as the file's owner (docker run --user, Kubernetes: fsGroup)", name, os.Getuid())
	case err != nil:
		return "", fmt.Errorf("%s cannot be read: %w", name, err)
	case len(content) > maxSecretSize:
		return "", fmt.Errorf("%s is larger than %d bytes; is it the right file?", name, maxSecretSize)
	}
	value = strings.TrimRight(string(content), "\r\n")
	if value == "" {
		return "", fmt.Errorf("%s points to an empty file", name)
	}
	return value, nil
}

// readSecret reads one byte more than a secret may have, if there are as many. Its errors
// do not hold the path: somebody may have put the secret itself there.
func readSecret(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSecretSize+1))
	return content, withoutPath(err)
}

// withoutPath takes the path out of an error of the file system.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// fromURL parses a connection URL or libpq keywords. A malformed one is never repeated,
// not even in part: the parts of a URL whose password lacks its percent-encoding are
// pieces of the password.
func fromURL(databaseURL string) (*pgconn.Config, settings, error) {
	databaseURL = sqlalchemyDriver.ReplaceAllString(databaseURL, "postgresql://")
	isURL := strings.Contains(databaseURL, "://")
	if isURL {
		if !strings.HasPrefix(databaseURL, "postgres://") && !strings.HasPrefix(databaseURL, "postgresql://") {
			return nil, nil, errors.New("DATABASE_URL must begin with postgres:// or postgresql://")
		}
		// A login ends at the first @, which stands before the first slash. Another one
		// is a piece of a password.
		_, rest, _ := strings.Cut(databaseURL, "://")
		authority, _, _ := strings.Cut(rest, "/")
		if strings.Count(rest, "@") > strings.Count(authority, "@") || strings.Count(rest, "@") > 1 {
			return nil, nil, errors.New("DATABASE_URL is not a URL; percent-encode what is special in the password")
		}
	}
	server, err := parse(databaseURL, "DATABASE_URL")
	if err != nil {
		return nil, nil, err
	}
	return complete(databaseURL, server, "DATABASE_URL names no %s", map[string]string{"host": "host", "database": "database", "user": "user"})
}

// gives reports whether a connection string that can be parsed has a parameter, for which
// pgconn may have a default.
func gives(connection, keyword string) bool {
	allowed := append(forServer(), "krbspn") // which only pgconn knows
	for _, p := range libpq() {
		if p.keyword != keyword {
			allowed = append(allowed, p.keyword)
		}
	}
	_, err := pgconn.ParseConfigWithOptions(connection, pgconn.ParseConfigOptions{ConnStringAllowedKeys: allowed})
	return err != nil
}

// withHost adds a host to a connection string that has none.
func withHost(connection, host string) string {
	if !strings.Contains(connection, "://") {
		return connection + " host=" + quote(host)
	}
	_, behind, _ := strings.Cut(connection[strings.Index(connection, "@")+1:], "?")
	separator := "?"
	if behind != "" {
		separator = "&"
	}
	return connection + separator + "host=" + url.QueryEscape(host)
}

// keywordIn returns what a connection string that can be parsed says of a keyword whose
// value has no blanks.
func keywordIn(connection, keyword string) string {
	if _, query, ok := strings.Cut(connection, "?"); ok && strings.Contains(connection, "://") {
		values, _ := url.ParseQuery(query)
		return values.Get(keyword)
	}
	found := regexp.MustCompile(`(?:^|\s)` + keyword + `\s*=\s*'?([^\s']+)`).FindStringSubmatch(connection)
	if found == nil {
		return ""
	}
	return found[1]
}

// serviceOf returns the settings of the service that a connection string or PGSERVICE
// names, if one does.
func serviceOf(connection string) (map[string]string, error) {
	name := cmp.Or(keywordIn(connection, "service"), os.Getenv("PGSERVICE"))
	if name == "" {
		return nil, nil
	}
	file := cmp.Or(keywordIn(connection, "servicefile"), os.Getenv("PGSERVICEFILE"), filepath.Join(os.Getenv("HOME"), ".pg_service.conf"))
	services, err := pgservicefile.ReadServicefile(file)
	if err != nil {
		return nil, fmt.Errorf("the service file cannot be read: %w", withoutPath(err))
	}
	service, err := services.GetService(name)
	if err != nil {
		return nil, errors.New("the service file has no service of that name")
	}
	return service.Settings, nil
}

// complete returns a configuration and the rest of its settings, unless nothing says
// where to connect to. complaint says what is missing, by one of names.
func complete(connection string, server *pgconn.Config, complaint string, names map[string]string) (*pgconn.Config, settings, error) {
	isURL := strings.Contains(connection, "://")
	more, err := takeSettings(server, isURL)
	if err != nil {
		return nil, nil, err
	}
	service, err := serviceOf(connection)
	if err != nil {
		return nil, nil, err
	}
	hosted := gives(connection, "host") || service["host"] != "" || os.Getenv("PGHOST") != ""
	address := cmp.Or(more["hostaddr"], service["hostaddr"])
	for _, required := range []struct {
		what  string
		given bool
	}{
		{"host", hosted || address != ""},
		{"database", server.Database != ""},
		{"user", gives(connection, "user") || service["user"] != "" || os.Getenv("PGUSER") != ""},
	} {
		if !required.given {
			return nil, nil, fmt.Errorf(complaint, names[required.what])
		}
	}
	if hosted {
		return server, more, nil
	}
	if server, err = parse(withHost(connection, address), "hostaddr"); err != nil {
		return nil, nil, err
	}
	more, err = takeSettings(server, isURL)
	return server, more, err
}

// fromVariables puts the single variables together. libpq's own stand in for those that
// are not set, so that the environment of psql serves too.
func (env environment) fromVariables() (*pgconn.Config, settings, error) {
	host, database, user := env.Host, env.Database, env.User
	if os.Getenv("PGSERVICE") == "" { // which wins over these, as libpq has it
		host = cmp.Or(host, os.Getenv("PGHOST"))
		database = cmp.Or(database, os.Getenv("PGDATABASE"))
		user = cmp.Or(user, os.Getenv("PGUSER"))
	}
	for name, value := range map[string]string{"POSTGRES_DB": database, "POSTGRES_USER": user} {
		// pgconn names both in its errors, and one that is a connection string holds the
		// password.
		if strings.Contains(value, "://") || strings.Contains(value, "=") {
			return nil, nil, fmt.Errorf("%s must be a name; for a URL or libpq's keywords there is DATABASE_URL", name)
		}
	}
	var keywords []string
	add := func(keyword, value string) {
		if value != "" {
			keywords = append(keywords, keyword+"="+quote(value))
		}
	}
	if host != "" {
		hosts, ports, err := splitHosts(host, cmp.Or(env.port(), os.Getenv("PGPORT"), "5432"))
		if err != nil {
			return nil, nil, err
		}
		add("host", hosts)
		add("port", ports)
	} else {
		add("port", env.port())
	}
	add("dbname", database)
	add("user", user)
	password, err := valueOrFile(env.Password, "POSTGRES_PASSWORD_FILE", env.PasswordFile)
	if err != nil {
		return nil, nil, err
	}
	// The password stays out of the text, so the parser's complaints can be shown.
	connection := strings.Join(keywords, " ")
	server, err := parse(connection, "what POSTGRES_... say")
	if err != nil {
		return nil, nil, err
	}
	server, more, err := complete(connection, server, "%s is not set; set it, or DATABASE_URL",
		map[string]string{"host": "POSTGRES_HOST", "database": "POSTGRES_DB", "user": "POSTGRES_USER"})
	if err == nil && password != "" {
		server.Password = password
	}
	return server, more, err
}

// port returns POSTGRES_PORT, unless it is what Kubernetes sets for a Service that is
// named "postgres": tcp://10.96.0.1:5432.
func (env environment) port() string {
	if strings.HasPrefix(env.Port, "tcp://") {
		return ""
	}
	return env.Port
}

// splitHosts turns "db", "db:5433", "a,b:5433", "[::1]:5432" or "/run/postgresql" into
// libpq's two parallel lists.
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
