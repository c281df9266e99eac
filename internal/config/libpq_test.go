package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The documentation's list:
// https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS and
// https://www.postgresql.org/docs/18/libpq-envars.html. A server's own libpq is asked in
// package integration.
func TestEveryParameterIsDecided(t *testing.T) {
	keywords := `host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding
		options application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
		tcp_user_timeout replication gssencmode sslmode requiressl sslnegotiation sslcompression sslcert sslkey sslkeylogfile
		sslpassword sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version ssl_max_protocol_version
		min_protocol_version max_protocol_version krbsrvname gsslib gssdelegation scram_client_key scram_server_key service
		target_session_attrs load_balance_hosts oauth_issuer oauth_client_id oauth_client_secret oauth_scope`
	variables := `PGHOST PGSSLNEGOTIATION PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGREQUIREAUTH PGCHANNELBINDING
		PGSERVICE PGSERVICEFILE PGOPTIONS PGAPPNAME PGSSLMODE PGREQUIRESSL PGSSLCOMPRESSION PGSSLCERT PGSSLKEY PGSSLCERTMODE
		PGSSLROOTCERT PGSSLCRL PGSSLCRLDIR PGSSLSNI PGREQUIREPEER PGSSLMINPROTOCOLVERSION PGSSLMAXPROTOCOLVERSION
		PGMINPROTOCOLVERSION PGMAXPROTOCOLVERSION PGGSSENCMODE PGKRBSRVNAME PGGSSLIB PGGSSDELEGATION PGCONNECT_TIMEOUT
		PGCLIENTENCODING PGTARGETSESSIONATTRS PGLOADBALANCEHOSTS PGDATESTYLE PGTZ PGGEQO PGSYSCONFDIR PGLOCALEDIR`
	known := map[string]bool{}
	for _, p := range libpq() {
		for _, name := range []string{p.keyword, p.variable} {
			if name != "" && known[name] {
				t.Errorf("%s is decided twice", name)
			}
			known[name] = true
		}
	}
	for _, name := range strings.Fields(keywords + " " + variables) {
		if !known[name] {
			t.Errorf("%s is not decided", name)
		}
	}
}

// Each parameter is tried both ways with a value that asks for something. What is refused
// names itself; what is not leads to a configuration in which no parameter of libpq's
// goes to the server that is not the server's.
func TestEveryParameterIsTried(t *testing.T) {
	folder := t.TempDir()
	path := func(name, content string) string {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	authority := newAuthority(t)
	cert, key := authority.pair(t)
	values := map[string]string{
		"host": "db", "hostaddr": "10.0.0.1", "port": "5433", "dbname": "d", "user": "u", "password": "p", "connect_timeout": "7",
		"passfile": path("pass", "*:*:*:*:p"), "require_auth": "scram-sha-256", "channel_binding": "require", "client_encoding": "LATIN1",
		"options": "-cgeqo=off", "keepalives": "1", "keepalives_idle": "9", "keepalives_interval": "9", "keepalives_count": "9",
		"tcp_user_timeout": "9000", "replication": "database", "gssencmode": "require", "sslmode": "verify-full", "requiressl": "1",
		"sslnegotiation": "direct", "sslcert": path("cert", cert), "sslkey": path("key", key), "sslcertmode": "allow",
		"sslrootcert": path("root", authority.text), "sslcrl": path("crl", authority.list(t)), "sslcrldir": filepath.Dir(path("crl", authority.list(t))),
		"sslsni": "0", "ssl_min_protocol_version": "TLSv1.3", "ssl_max_protocol_version": "TLSv1.3", "min_protocol_version": "3.0",
		"max_protocol_version": "3.2", "service": "hub", "servicefile": path("services", "[hub]\nuser=u\n"), "target_session_attrs": "primary",
		"load_balance_hosts": "random", "timezone": "UTC", "gssdelegation": "1", "sslcompression": "1",
	}
	for _, p := range libpq() {
		value := values[p.keyword]
		if value == "" {
			value = "x"
		}
		check := func(t *testing.T, name string) {
			cfg, err := FromEnv()
			if p.verdict == refused {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), p.instead) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for param := range connection(t, cfg).RuntimeParams {
				if strings.Contains(param, "ssl") || strings.Contains(param, "keep") || strings.Contains(param, "tcp") || param == "hostaddr" {
					t.Errorf("%s goes to the server", param)
				}
			}
			if p.verdict == harmless && strings.HasPrefix(name, "PG") && strings.Join(cfg.Ignored, "") != name {
				t.Errorf("the log is not told: %q", cfg.Ignored)
			}
		}
		verified := map[string]string{}
		if p.keyword == "sslcrl" || p.keyword == "sslcrldir" {
			verified = map[string]string{"PGSSLMODE": "verify-full", "PGSSLROOTCERT": values["sslrootcert"]}
		}
		for other, with := range map[string]string{"sslcert": "sslkey", "sslkey": "sslcert"} {
			if p.keyword == other {
				verified["PGSSL"+strings.ToUpper(strings.TrimPrefix(with, "ssl"))] = values[with]
			}
		}
		if p.keyword == "service" {
			verified["PGSERVICEFILE"] = values["servicefile"]
		}
		if p.variable != "" {
			t.Run(p.variable, func(t *testing.T) {
				env := with(basic, p.variable, value)
				for name, value := range verified {
					env[name] = value
				}
				setenv(t, env)
				check(t, p.variable)
			})
		}
		if p.keyword != "" {
			t.Run(p.keyword, func(t *testing.T) {
				setenv(t, with(verified, "PGHOST", "db", "PGDATABASE", "d", "PGUSER", "u", "DATABASE_URL", p.keyword+"="+quote(value)))
				check(t, p.keyword)
			})
		}
	}
}

// A service file, an address beside a host, and a socket's folder in a URL work as they
// do for psql.
func TestWhereToConnectTo(t *testing.T) {
	services := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(services, []byte("[hub]\nhost=s\nport=6000\ndbname=d\nuser=u\npassword=p\nsslmode=disable\n[bare]\ndbname=d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		env  map[string]string
		want string
	}{
		"socket in a URL":          {map[string]string{"DATABASE_URL": "postgres://u@%2Frun%2Fpostgresql/d"}, "/run/postgresql:5432/d as u"},
		"question mark":            {map[string]string{"DATABASE_URL": "postgres://u:12?x@db/d?sslmode=disable"}, "db:5432/d as u 12?x"},
		"hash":                     {map[string]string{"DATABASE_URL": "postgres://u:1#2@db/d?sslmode=disable"}, "db:5432/d as u 1#2"},
		"service":                  {map[string]string{"PGSERVICE": "hub", "PGSERVICEFILE": services}, "s:6000/d as u p"},
		"service, and ours":        {map[string]string{"PGSERVICE": "hub", "PGSERVICEFILE": services, "POSTGRES_HOST": "db"}, "db:5432/d as u p"},
		"service in a URL":         {map[string]string{"DATABASE_URL": "postgres://?service=hub", "PGSERVICEFILE": services}, "s:6000/d as u p"},
		"service in keywords":      {map[string]string{"DATABASE_URL": "service=hub user=v", "PGSERVICEFILE": services}, "s:6000/d as v p"},
		"service without a host":   {map[string]string{"PGSERVICE": "bare", "PGSERVICEFILE": services}, "POSTGRES_HOST is not set"},
		"address alone":            {map[string]string{"PGHOSTADDR": "10.0.0.1", "PGDATABASE": "d", "PGUSER": "u"}, "10.0.0.1:5432/d as u"},
		"address in a URL":         {map[string]string{"DATABASE_URL": "postgres://u@/d?hostaddr=10.0.0.1&sslmode=disable"}, "10.0.0.1:5432/d as u"},
		"address in keywords":      {map[string]string{"DATABASE_URL": "dbname=d user=u hostaddr=10.0.0.1"}, "10.0.0.1:5432/d as u"},
		"address that is a name":   {with(basic, "PGHOSTADDR", "db"), "hostaddr (PGHOSTADDR) must be an IP address"},
		"too many addresses":       {with(basic, "PGHOSTADDR", "10.0.0.1,10.0.0.2"), "there are 2 addresses in hostaddr (PGHOSTADDR) for 1 hosts"},
		"no such service":          {map[string]string{"PGSERVICE": "none", "PGSERVICEFILE": services}, "unable to find service: none"},
		"bad keepalives":           {with(basic, "DATABASE_URL", "host=db user=u dbname=d keepalives_idle=x"), "the parameter keepalives_idle must be a number"},
		"bad TLS version":          {with(basic, "PGSSLMINPROTOCOLVERSION", "1.3"), "ssl_min_protocol_version must be TLSv1"},
		"TLS versions crossed":     {with(basic, "PGSSLMINPROTOCOLVERSION", "TLSv1.3", "PGSSLMAXPROTOCOLVERSION", "TLSv1.2"), "ssl_min_protocol_version is above"},
		"list, nothing verified":   {with(basic, "PGSSLCRL", services), "no certificate revocation list"},
		"no such list":             {with(basic, "PGSSLCRL", "/none"), "the certificate revocation list (sslcrl, sslcrldir) cannot be read: open /none"},
		"no such folder":           {with(basic, "PGSSLCRLDIR", "/none"), "sslcrldir (PGSSLCRLDIR) cannot be read"},
		"key in place of a path":   {with(basic, "PGSSLKEY", `-----BEGIN PRIVATE KEY-----\ns3cret`, "PGSSLCERT", services), "the text of a certificate or key is where a path belongs"},
		"address of a socket":      {with(basic, "POSTGRES_HOST", "/run/postgresql", "PGHOSTADDR", "10.0.0.1"), "a host that is the folder of a socket"},
		"one host, two addresses":  {with(basic, "POSTGRES_HOST", "db,db", "PGHOSTADDR", "10.0.0.1,10.0.0.2"), "db:5432/pep-db as pephub"},
		"no host but krbspn":       {map[string]string{"DATABASE_URL": "postgres://u@/d?krbspn=x"}, "DATABASE_URL names no host"},
		"bad negotiation":          {with(basic, "PGSSLNEGOTIATION", "fast"), "sslnegotiation (PGSSLNEGOTIATION) must be"},
		"bad attribute":            {with(basic, "PGTARGETSESSIONATTRS", "best"), "libpq's PG... variables cannot be understood: unknown target_session_attrs value: best"},
		"bad mode in a URL":        {map[string]string{"DATABASE_URL": "postgres://u@db/d?sslmode=best"}, "DATABASE_URL cannot be understood: failed to configure TLS (sslmode is invalid)"},
		"certificate, no key":      {with(basic, "POSTGRES_SSLCERT_PEM", "x"), "go together"},
		"certificate that is none": {with(basic, "POSTGRES_SSLCERT_PEM", "x", "POSTGRES_SSLKEY_PEM", "y"), "POSTGRES_SSLCERT_PEM and POSTGRES_SSLKEY_PEM: "},
		"authority that is none":   {with(basic, "POSTGRES_SSLROOTCERT_PEM", "x", "PGSSLMODE", "verify-full"), "POSTGRES_SSLROOTCERT_PEM holds no certificate"},
		"authority, no use":        {with(basic, "POSTGRES_SSLROOTCERT_PEM", newAuthority(t).text), "only if the server's certificate is verified"},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, test.env)
			t.Setenv("HOME", t.TempDir())
			var got string
			if cfg, err := FromEnv(); err != nil {
				got = err.Error()
			} else {
				s := connection(t, cfg)
				got = strings.TrimSpace(s.Host + ":" + big.NewInt(int64(s.Port)).String() + "/" + s.Database + " as " + s.User + " " + s.Password)
			}
			if !strings.Contains(got, test.want) || strings.Contains(got, "s3cret") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A host keeps its name, by which its certificate is checked, and is looked for at its
// address.
func TestAddresses(t *testing.T) {
	setenv(t, with(basic, "POSTGRES_HOST", "a,b", "PGHOSTADDR", "10.0.0.1,", "PGSSLMODE", "prefer"))
	cfg, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	s := connection(t, cfg)
	if found, err := s.LookupFunc(t.Context(), "a"); err != nil || len(found) != 1 || found[0] != "10.0.0.1" {
		t.Errorf("got %v, %v", found, err)
	}
	if s.TLSConfig.ServerName != "a" {
		t.Errorf("the certificate is to be that of %q", s.TLSConfig.ServerName)
	}
}

// Who writes needs a server that can be written to, whatever kind is asked for.
func TestTargetSession(t *testing.T) {
	for action, check := range map[string]bool{Up: true, Check: false, Plan: false} {
		for _, attribute := range []string{"standby", "prefer-standby", "read-only", "primary", "any"} {
			setenv(t, with(basic, "MIGRATE_ACTION", action, "PGTARGETSESSIONATTRS", attribute))
			cfg, err := FromEnv()
			if err != nil {
				t.Fatal(err)
			}
			got := reflect.ValueOf(connection(t, cfg).ValidateConnect)
			readWrite := reflect.ValueOf(pgconn.ValidateConnectTargetSessionAttrsReadWrite)
			writable := !got.IsNil() && got.Pointer() == readWrite.Pointer()
			if want := check && attribute != "any"; writable != want {
				t.Errorf("%s with %s: to a server that can be written to: %v", action, attribute, writable)
			}
		}
	}
}

// Files are read anew for each connection.
func TestFilesAreReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(content string) {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, env := range map[string]map[string]string{
		"password": with(basic, "POSTGRES_PASSWORD_FILE", file),
		"passfile": with(basic, "PGPASSFILE", file),
		"URL":      {"DATABASE_URL_FILE": file},
	} {
		t.Run(name, func(t *testing.T) {
			text := map[string]string{"password": "%", "passfile": "*:*:*:*:%", "URL": "postgres://u:%@db/d"}[name]
			write(strings.ReplaceAll(text, "%", "first"))
			setenv(t, env)
			cfg, err := FromEnv()
			if err != nil {
				t.Fatal(err)
			}
			write(strings.ReplaceAll(text, "%", "second"))
			if got := connection(t, cfg).Password; got != "second" {
				t.Errorf("got %q", got)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if _, err := cfg.Server(); name != "passfile" && !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What a value holds by mistake is named, with the variable, and without the value.
func TestFlaws(t *testing.T) {
	for value, says := range map[string]string{
		`"s3cret"`: `is enclosed in quotation marks (")`, `'s3cret'`: `is enclosed in quotation marks (')`,
		"s3cret\r": `carriage return (\r)`, "\uFEFFs3cret": "byte order mark", " s3cret": "begins with a blank", "s3cret ": "ends with a blank",
		"s3\ncret": `newline (\n)`,
	} {
		for _, name := range []string{"POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER", "PGSSLMODE", "DATABASE_URL", "MIGRATE_ACTION"} {
			setenv(t, with(basic, name, value))
			_, err := FromEnv()
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name+" ") || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3") {
				t.Errorf("%s=%q: got %v", name, value, err)
			}
		}
		for _, name := range []string{"POSTGRES_PASSWORD", "PGPASSWORD"} {
			setenv(t, with(basic, name, value))
			cfg, err := FromEnv()
			if err != nil || len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], name+" ") || !strings.Contains(cfg.Warnings[0], says) || strings.Contains(cfg.Warnings[0], "s3") {
				t.Errorf("%s=%q: got %q, %v", name, value, cfg.Warnings, err)
			}
		}
	}
}

func TestPassfileIsMissing(t *testing.T) {
	setenv(t, with(basic, "PGPASSFILE", "/none"))
	if cfg, err := FromEnv(); err != nil || len(cfg.Warnings) != 1 || !strings.HasPrefix(cfg.Warnings[0], "PGPASSFILE has no effect: no such file") {
		t.Errorf("got %q, %v", cfg.Warnings, err)
	}
}

func TestNearMisses(t *testing.T) {
	for name, want := range map[string]string{
		"WAIT_TIMOUT": "WAIT_TIMEOUT", "LOG_FORMT": "LOG_FORMAT", "POSTGRES_PASWORD": "POSTGRES_PASSWORD", "POSTGRESS_HOST": "POSTGRES_HOST",
		"DATABASE_ULR": "DATABASE_URL", "LOCK_TIMEOUTS": "LOCK_TIMEOUT", "POSTGRES_PASSWORD_FIEL": "POSTGRES_PASSWORD_FILE",
		"PATH": "", "POSTGRES_PORT_5432_TCP": "", "PGPASSWORD": "", "POSTGRES_INITDB_ARGS": "", "POSTGRES_SERVICE_HOST": "",
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, with(basic, name, "1"))
			cfg, err := FromEnv()
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(cfg.Warnings, "\n")
			if want != "" {
				want = name + " is not a variable of this program and has no effect; is it meant to be " + want + "?"
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// authority signs certificates and revocation lists.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	text string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return authority{}.sign(t, template)
}

// sign makes a certificate and its key; the zero authority signs with that key.
func (a authority) sign(t *testing.T, template *x509.Certificate) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if signer == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// server makes a certificate for a server.
func (a authority) server(t *testing.T, serial int64) authority {
	t.Helper()
	return a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "db"}, DNSNames: []string{"db"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// pair returns a certificate and its key as PEM.
func (a authority) pair(t *testing.T) (cert, key string) {
	t.Helper()
	one := a.server(t, 2)
	der, err := x509.MarshalPKCS8PrivateKey(one.key)
	if err != nil {
		t.Fatal(err)
	}
	return one.text, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// list returns a revocation list with some serial numbers as PEM.
func (a authority) list(t *testing.T, serials ...int64) string {
	t.Helper()
	return a.listUntil(t, time.Now().Add(time.Hour), serials...)
}

func (a authority) listUntil(t *testing.T, until time.Time, serials ...int64) string {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: until}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// A list holds for the certificates of its issuer, all the way to the root, as OpenSSL
// has it.
func TestRevocation(t *testing.T) {
	root := newAuthority(t)
	middle := root.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "middle"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	stranger := newAuthority(t) // by the same name, with another key
	direct, behind := root.server(t, 2), middle.server(t, 2)
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	past := time.Now().Add(-time.Hour)
	for name, test := range map[string]struct {
		peer  []*x509.Certificate
		lists string
		says  string
	}{
		"not revoked":                 {[]*x509.Certificate{direct.cert}, root.list(t, 3), ""},
		"revoked":                     {[]*x509.Certificate{direct.cert}, root.list(t, 3, 2), `"db" was revoked`},
		"list of a stranger":          {[]*x509.Certificate{direct.cert}, stranger.list(t), `"db" has no revocation list`},
		"list of the past":            {[]*x509.Certificate{direct.cert}, root.listUntil(t, past), `"db" has no revocation list`},
		"revoked in one of two":       {[]*x509.Certificate{direct.cert}, root.list(t) + root.list(t, 2), "was revoked"},
		"chain":                       {[]*x509.Certificate{behind.cert, middle.cert}, root.list(t) + middle.list(t), ""},
		"chain, server revoked":       {[]*x509.Certificate{behind.cert, middle.cert}, root.list(t) + middle.list(t, 2), `"db" was revoked`},
		"chain, authority revoked":    {[]*x509.Certificate{behind.cert, middle.cert}, root.list(t, 7) + middle.list(t), `"middle" was revoked`},
		"chain, a list is missing":    {[]*x509.Certificate{behind.cert, middle.cert}, middle.list(t), `"middle" has no revocation list`},
		"another's number":            {[]*x509.Certificate{behind.cert, middle.cert}, root.list(t, 2) + middle.list(t), ""},
		"no certificate":              {nil, root.list(t), "no certificate"},
		"signed by nobody who counts": {[]*x509.Certificate{stranger.server(t, 2).cert}, stranger.list(t), "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			lists, err := environment{CRLPEM: test.lists}.revocationLists(settings{}, true)
			if err != nil {
				t.Fatal(err)
			}
			err = checkRevocation(test.peer, pool, lists, time.Now())
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// Certificates that are given as text are those that a connection uses.
func TestCertificatesAsText(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.pair(t)
	inOneLine := strings.ReplaceAll(a.text, "\n", `\n`)
	for _, root := range []string{a.text, inOneLine} {
		setenv(t, with(basic, "PGSSLMODE", "verify-full", "POSTGRES_SSLROOTCERT_PEM", root, "POSTGRES_SSLCERT_PEM", cert, "POSTGRES_SSLKEY_PEM", key,
			"POSTGRES_SSLCRL_PEM", a.list(t, 9), "PGSSLMAXPROTOCOLVERSION", "TLSv1.2"))
		cfg, err := FromEnv()
		if err != nil {
			t.Fatal(err)
		}
		config := connection(t, cfg).TLSConfig
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		if !config.RootCAs.Equal(pool) || len(config.Certificates) != 1 || config.MaxVersion != tls.VersionTLS12 {
			t.Errorf("got %+v", config)
		}
		for serial, want := range map[int64]bool{2: true, 9: false} {
			state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{a.server(t, serial).cert}}
			if err := config.VerifyConnection(state); (err == nil) != want {
				t.Errorf("certificate %d: %v", serial, err)
			}
		}
	}
}

// Every variable of ours is in the help and in the README.
func TestVariablesAreDocumented(t *testing.T) {
	for file, form := range map[string]string{"../../help.txt": "\n  %s ", "../../README.md": "| `%s` |"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(content), "`, `", "` |\n| `")
		for name := range variables() {
			if !strings.Contains(text, strings.ReplaceAll(form, "%s", name)) {
				t.Errorf("%s is not in %s", name, file)
			}
		}
	}
}

// row is what the documentation says of a parameter.
func (p parameter) row() string {
	code := func(name string) string {
		if name == "" {
			return ""
		}
		return "`" + name + "`"
	}
	what := map[verdict]string{honoured: "honoured", harmless: "no effect", refused: "refused: " + p.instead}[p.verdict]
	if p.unless != "" {
		what = "refused, but for `" + strings.Join(strings.Fields(p.unless), "`, `") + "`: " + p.instead
	}
	return "| " + code(p.keyword) + " | " + code(p.variable) + " | " + what + " |"
}

// The documentation says of every parameter what becomes of it.
func TestParametersAreDocumented(t *testing.T) {
	content, err := os.ReadFile("../../docs/connecting.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range libpq() {
		if !strings.Contains(string(content), "\n"+p.row()+"\n") {
			t.Errorf("docs/connecting.md lacks %s", p.row())
		}
	}
}
