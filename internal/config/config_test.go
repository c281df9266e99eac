package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// hard has every printable ASCII character that a shell, a URL or libpq could stumble
// over, and some beyond ASCII.
const hard = ` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~%41é☃ `

// setenv makes the given variables the whole environment that matters.
func setenv(t *testing.T, variables map[string]string) {
	t.Helper()
	for _, assignment := range os.Environ() {
		name, _, _ := strings.Cut(assignment, "=")
		ours := name == "LOG_FORMAT" || name == "TERMINATION_LOG" || strings.HasSuffix(name, "_TIMEOUT")
		for _, prefix := range []string{"POSTGRES_", "PG", "DATABASE_", "MIGRATE_", "MIGRATION_", "MIGRATIONS_"} {
			ours = ours || strings.HasPrefix(name, prefix)
		}
		if ours {
			t.Setenv(name, "") // so that it is restored
			os.Unsetenv(name)
		}
	}
	for name, value := range variables {
		t.Setenv(name, value)
	}
}

// connection is how a configuration leads to the server.
func connection(t *testing.T, cfg Config) *pgconn.Config {
	t.Helper()
	server, err := cfg.Server()
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func with(base map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for name, value := range base {
		all[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

var basic = map[string]string{"POSTGRES_HOST": "db", "POSTGRES_DB": "pep-db", "POSTGRES_USER": "pephub"}

func TestDefaults(t *testing.T) {
	for _, service := range []string{"MIGRATE", "MIGRATION", "MIGRATIONS", "MIGRATION_DB"} {
		t.Run("Kubernetes' own of a Service "+service, func(t *testing.T) {
			setenv(t, with(basic, service+"_PORT_80_TCP", "tcp://10.0.0.1:80", service+"_PORT", "tcp://10.0.0.1:80",
				service+"_SERVICE_HOST", "10.0.0.1", service+"_SERVICE_PORT_HTTP", "80", service+"_PORT_80_TCP_ADDR", "10.0.0.1"))
			if _, err := FromEnv(); err != nil {
				t.Error(err)
			}
		})
	}
	setenv(t, with(basic, "WAIT_TIMEOUT", "", "MIGRATE_TARGET", "", "MIGRATE_ACTION", "", "MIGRATIONS_DIR", "", "POSTGRES_PORT", ""))
	cfg, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Action != Up || cfg.RefuseEmpty || cfg.Target != 0 || cfg.AllowDataLoss || cfg.MigrationsDir != "" || cfg.WaitTimeout != time.Minute || cfg.LockTimeout != 10*time.Second {
		t.Errorf("got %+v", cfg)
	}
	s := connection(t, cfg)
	if s.Host != "db" || s.Port != 5432 || s.Database != "pep-db" || s.User != "pephub" || s.Password != "" ||
		s.RuntimeParams["application_name"] != "pephub-migrate" {
		t.Errorf("connects to %s:%d %s as %s", s.Host, s.Port, s.Database, s.User)
	}
}

// Names come as UTF-8 from a database of any encoding, unless somebody wants them
// otherwise.
func TestEncoding(t *testing.T) {
	for name, test := range map[string]struct {
		env  map[string]string
		want string
	}{
		"by default": {basic, "UTF8"},
		"in the URL": {map[string]string{"DATABASE_URL": "postgres://u@db/d?client_encoding=LATIN1"}, "LATIN1"},
		"in options": {with(basic, "PGOPTIONS", "-c client_encoding=LATIN1"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, test.env)
			cfg, err := FromEnv()
			if err != nil {
				t.Fatal(err)
			}
			if got := connection(t, cfg).RuntimeParams["client_encoding"]; got != test.want {
				t.Errorf("client_encoding is %q, want %q", got, test.want)
			}
		})
	}
}

func TestEverythingSet(t *testing.T) {
	setenv(t, with(basic, "MIGRATE_ACTION", "down", "MIGRATE_EMPTY", "refuse", "MIGRATE_TARGET", "000013", "MIGRATE_ALLOW_DATA_LOSS", "true", "MIGRATIONS_DIR", "/steps",
		"WAIT_TIMEOUT", "2m", "LOCK_TIMEOUT", "250ms", "LOG_FORMAT", "json", "TERMINATION_LOG", "/tmp/x"))
	cfg, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Action != Down || !cfg.RefuseEmpty || cfg.Target != 13 || !cfg.AllowDataLoss || cfg.MigrationsDir != "/steps" ||
		cfg.WaitTimeout != 2*time.Minute || cfg.LockTimeout != 250*time.Millisecond {
		t.Errorf("got %+v", cfg)
	}
	if !JSONLogs() || TerminationLog() != "/tmp/x" {
		t.Errorf("JSON logs %v, termination log %s", JSONLogs(), TerminationLog())
	}
}

// A password arrives as it was given, whichever way it comes.
func TestPasswords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(content string) string {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	escaped := url.UserPassword("pephub", hard).String()
	keywords := "host=db dbname=pep-db user = pephub password=" + quote(hard)
	for name, variables := range map[string]map[string]string{
		"variable":      with(basic, "POSTGRES_PASSWORD", hard),
		"file":          with(basic, "POSTGRES_PASSWORD_FILE", write(hard+"\r\n")),
		"libpq":         with(basic, "PGPASSWORD", hard),
		"URL":           {"DATABASE_URL": "postgres://" + escaped + "@db/pep-db"},
		"URL wins":      with(basic, "POSTGRES_PASSWORD", "other", "DATABASE_URL", "postgresql://"+escaped+"@db:5432/pep-db"),
		"SQLAlchemy's":  {"DATABASE_URL": "postgresql+psycopg://" + escaped + "@db/pep-db"},
		"keywords":      {"DATABASE_URL": keywords},
		"libpq's names": {"PGHOST": "db", "PGDATABASE": "pep-db", "PGUSER": "pephub", "PGPASSWORD": hard},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, variables)
			cfg, err := FromEnv()
			if err != nil {
				t.Fatal(err)
			}
			s := connection(t, cfg)
			if s.Password != hard || s.Host != "db" || s.Database != "pep-db" || s.User != "pephub" {
				t.Errorf("connects to %s %s as %s with %q", s.Host, s.Database, s.User, s.Password)
			}
		})
	}
	t.Run("URL file", func(t *testing.T) {
		setenv(t, map[string]string{"DATABASE_URL_FILE": write("postgres://" + escaped + "@db/pep-db\n")})
		if cfg, err := FromEnv(); err != nil || connection(t, cfg).Password != hard {
			t.Error(err)
		}
	})
}

func TestHosts(t *testing.T) {
	type address struct {
		host string
		port uint16
	}
	for host, want := range map[string][]address{
		"db":                  {{"db", 6000}},
		"db:5433":             {{"db", 5433}},
		"a, b:5433":           {{"a", 6000}, {"b", 5433}},
		"::1":                 {{"::1", 6000}},
		"[::1]":               {{"::1", 6000}},
		"[::1]:5433,10.0.0.1": {{"::1", 5433}, {"10.0.0.1", 6000}},
		"/var/run/postgresql": {{"/var/run/postgresql", 6000}},
	} {
		t.Run(host, func(t *testing.T) {
			setenv(t, with(basic, "POSTGRES_HOST", host, "POSTGRES_PORT", "6000", "PGSSLMODE", "disable"))
			cfg, err := FromEnv()
			if err != nil {
				t.Fatal(err)
			}
			server := connection(t, cfg)
			got := []address{{server.Host, server.Port}}
			for _, fallback := range server.Fallbacks {
				got = append(got, address{fallback.Host, fallback.Port})
			}
			if len(got) != len(want) {
				t.Fatalf("got %v, want %v", got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("got %v, want %v", got[i], want[i])
				}
			}
		})
	}
	t.Run("Kubernetes' own POSTGRES_PORT", func(t *testing.T) {
		setenv(t, with(basic, "POSTGRES_PORT", "tcp://10.96.0.1:5432"))
		if cfg, err := FromEnv(); err != nil || connection(t, cfg).Port != 5432 {
			t.Error(err)
		}
	})
	t.Run("several in a URL", func(t *testing.T) {
		setenv(t, map[string]string{"DATABASE_URL": "postgres://u@a:5432,b:5433/d?sslmode=disable"})
		if cfg, err := FromEnv(); err != nil || len(connection(t, cfg).Fallbacks) != 1 || connection(t, cfg).Fallbacks[0].Port != 5433 {
			t.Error(err)
		}
	})
}

// A message names the variable, and holds nothing of a value that may be a secret.
func TestInvalid(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	huge := filepath.Join(t.TempDir(), "huge")
	for file, content := range map[string]string{empty: "\n", huge: strings.Repeat("x", maxSecretSize+1)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		env  map[string]string
		says string
	}{
		"nothing":              {nil, "POSTGRES_HOST is not set"},
		"no database":          {map[string]string{"POSTGRES_HOST": "db"}, "POSTGRES_DB is not set"},
		"no user":              {map[string]string{"POSTGRES_HOST": "db", "POSTGRES_DB": "d"}, "POSTGRES_USER is not set"},
		"no host":              {with(basic, "POSTGRES_HOST", "a,,b"), "POSTGRES_HOST has an empty host"},
		"port 0":               {with(basic, "POSTGRES_PORT", "0"), "POSTGRES_PORT"},
		"port text":            {with(basic, "POSTGRES_HOST", "db:s3cret"), "POSTGRES_PORT"},
		"port too high":        {with(basic, "POSTGRES_PORT", "65536"), "POSTGRES_PORT"},
		"misspelt":             {with(basic, "MIGRATE_TARGT", "s3cret"), "MIGRATE_TARGT is not a variable"},
		"no such folder":       {with(basic, "MIGRATION_DIR", "s3cret"), "MIGRATION_DIR is not a variable"},
		"folder misspelt":      {with(basic, "MIGRATIONS_DIRR", "s3cret"), "MIGRATIONS_DIRR is not a variable"},
		"almost a Service":     {with(basic, "MIGRATE_PORTS", "s3cret"), "MIGRATE_PORTS is not a variable"},
		"action":               {with(basic, "MIGRATE_ACTION", "s3cret"), "MIGRATE_ACTION must be"},
		"target text":          {with(basic, "MIGRATE_TARGET", "s3cret"), "MIGRATE_TARGET must be a step number"},
		"target 0":             {with(basic, "MIGRATE_TARGET", "0"), "MIGRATE_TARGET must be"},
		"data loss":            {with(basic, "MIGRATE_ALLOW_DATA_LOSS", "s3cret"), "MIGRATE_ALLOW_DATA_LOSS must be true or false"},
		"wait":                 {with(basic, "WAIT_TIMEOUT", "s3cret"), "WAIT_TIMEOUT must be a duration"},
		"negative wait":        {with(basic, "WAIT_TIMEOUT", "-1s"), "WAIT_TIMEOUT must not be negative"},
		"lock":                 {with(basic, "LOCK_TIMEOUT", "0s"), "LOCK_TIMEOUT must be from 1ms to 24h"},
		"format":               {with(basic, "LOG_FORMAT", "s3cret"), "LOG_FORMAT must be"},
		"down without target":  {with(basic, "MIGRATE_ACTION", "down"), "needs MIGRATE_TARGET"},
		"two passwords":        {with(basic, "POSTGRES_PASSWORD", "s3cret", "POSTGRES_PASSWORD_FILE", "/s"), "are both set"},
		"two URLs":             {map[string]string{"DATABASE_URL": "s3cret", "DATABASE_URL_FILE": "/s"}, "are both set"},
		"no file":              {with(basic, "POSTGRES_PASSWORD_FILE", "/none/such"), "POSTGRES_PASSWORD_FILE cannot be read"},
		"folder":               {with(basic, "POSTGRES_PASSWORD_FILE", os.TempDir()), "POSTGRES_PASSWORD_FILE points to a folder"},
		"empty file":           {with(basic, "POSTGRES_PASSWORD_FILE", empty), "points to an empty file"},
		"huge file":            {map[string]string{"DATABASE_URL_FILE": huge}, "DATABASE_URL_FILE is larger"},
		"URL with slash":       {map[string]string{"DATABASE_URL": "postgres://u:s3/cret@db/d"}, "percent-encode"},
		"URL with digits":      {map[string]string{"DATABASE_URL": "postgres://u:12/s3cret@db/d"}, "percent-encode"},
		"URL with percent":     {map[string]string{"DATABASE_URL": "postgres://u:s3cret%zz@db/d"}, "percent-encode"},
		"URL, slash and @":     {map[string]string{"DATABASE_URL": "postgres://u:p@s3/cret@db/d"}, "percent-encode"},
		"URL with two @":       {map[string]string{"DATABASE_URL": "postgres://u:p@s3cret@db/d"}, "percent-encode"},
		"URL for a pool":       {map[string]string{"DATABASE_URL": "postgres://u:s3cret@db/d?pool_max_conns=4"}, `a parameter "pool_max_conns", which is not libpq's`},
		"split password":       {map[string]string{"DATABASE_URL": "host=db dbname=d user=u password=p s3cret=x"}, "a parameter that is not libpq's"},
		"URL as file":          {map[string]string{"DATABASE_URL_FILE": "postgres://u:s3cret@db/d"}, "DATABASE_URL_FILE cannot be read: no such file"},
		"password as file":     {with(basic, "POSTGRES_PASSWORD_FILE", "s3cret"), "POSTGRES_PASSWORD_FILE cannot be read: no such file"},
		"URL as host":          {with(basic, "POSTGRES_HOST", "postgres://u:s3cret@db/d"), "POSTGRES_HOST must be"},
		"login in host":        {with(basic, "POSTGRES_HOST", "u:s3cret@db:5432"), "POSTGRES_HOST must be"},
		"URL as database":      {with(basic, "POSTGRES_DB", "postgres://u:s3cret@db/d"), "POSTGRES_DB must be"},
		"URL as user":          {with(basic, "POSTGRES_USER", "postgres://u:s3cret@db/d"), "POSTGRES_USER must be"},
		"keywords as database": {with(basic, "POSTGRES_DB", "host=db password=s3cret"), "POSTGRES_DB must be"},
		"keywords as user":     {with(basic, "POSTGRES_USER", "user=u password=s3cret"), "POSTGRES_USER must be"},
		"URL without host":     {map[string]string{"DATABASE_URL": "postgres://u:s3cret@/d"}, "names no host"},
		"URL without user":     {map[string]string{"DATABASE_URL": "postgres://db/d"}, "names no user"},
		"keywords, no host":    {map[string]string{"DATABASE_URL": "dbname=d user=u password=s3cret"}, "names no host"},
		"URL of another kind":  {map[string]string{"DATABASE_URL": "mysql://u:s3cret@db/d"}, "must begin with postgres://"},
		"URL without name":     {map[string]string{"DATABASE_URL": "postgres://u:s3cret@db"}, "names no database"},
		"URL with bad port":    {map[string]string{"DATABASE_URL": "postgres://u:s3cret@db:x/d"}, "DATABASE_URL"},
		"keywords":             {map[string]string{"DATABASE_URL": "password=s3cret host='db"}, "DATABASE_URL"},
		"sslmode":              {with(basic, "POSTGRES_PASSWORD", "s3cret", "PGSSLMODE", "maybe"), "sslmode is invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, test.env)
			_, err := FromEnv()
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
			if err != nil && (strings.Contains(err.Error(), "s3") || strings.Contains(err.Error(), "cret")) {
				t.Errorf("the message holds a secret: %v", err)
			}
		})
	}
}

// Whatever is in a variable, it is read or refused, and no message shows a secret.
func FuzzFromEnv(f *testing.F) {
	const secret = "s3cret-of-the-database"
	names := slices.Sorted(maps.Keys(variables()))
	for i := range names {
		for _, value := range []string{"", " ", "x", "-1", "1h", "db:5432,other", "\n", "\x7f", "é", "/", "postgres://u:" + secret + "@h/d", "host='"} {
			f.Add(uint(i), value)
		}
	}
	f.Fuzz(func(t *testing.T, which uint, value string) {
		if strings.ContainsRune(value, 0) {
			return // no variable can hold it
		}
		name := names[which%uint(len(names))]
		setenv(t, with(basic, "POSTGRES_PASSWORD", secret, name, value))
		cfg, err := FromEnv()
		switch {
		case err == nil:
			if s := connection(t, cfg); s.Host == "" || s.Database == "" || s.User == "" {
				t.Errorf("%s=%q: it is not said where to connect to", name, value)
			}
			if strings.Contains(fmt.Sprint(cfg.Warnings, cfg.Ignored), secret) {
				t.Errorf("%s=%q: a warning shows a secret", name, value)
			}
		case err != nil && !errors.Is(err, ErrInvalid):
			t.Errorf("%s=%q: %v", name, value, err)
		case err != nil && strings.Contains(err.Error(), secret):
			t.Errorf("%s=%q shows a secret: %v", name, value, err)
		}
	})
}
