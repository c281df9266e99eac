package integration

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// pooler is a program between the image and the server, as Debian has it in one of its
// releases.
type pooler struct {
	suite   string
	program string
	config  string
	ports   []int  // one for each mode
	starts  string // what its log says when it is ready
}

// Every pooler knows the roles pooled, with its password, and stale, with one that is not
// the server's; every database that there is, and a database "down", behind which there
// is no server.
const (
	pgbouncer = `
[databases]
down = host=db port=1
* = host=db port=5432
[pgbouncer]
listen_addr = *
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = /pooler/users
pool_mode = %s
default_pool_size = 3
server_reset_query =
server_login_retry = 1
`
	odyssey = `
daemonize no
log_format "%p %t %l [%i %s] (%c) %m\n"
log_to_stdout yes
coroutine_stack_size 24
listen { host "*" port 6432 }
storage "pg" { type "remote" host "db" port 5432 }
storage "none" { type "remote" host "db" port 1 }
database "down" {
	user "pooled" { authentication "scram-sha-256" password "{{password}}" storage "none" pool "transaction" }
}
database "{{database}}" {
	user "pooled" { authentication "scram-sha-256" password "{{password}}" storage "pg" pool "transaction" pool_size 3 }
	user "stale" { authentication "scram-sha-256" password "{{password}}" storage "pg" pool "transaction" }
}
database "{{database}}_session" {
	user "pooled" { authentication "scram-sha-256" password "{{password}}" storage "pg" pool "session" pool_size 20 }
}
`
	pgpool = `
backend_clustering_mode = 'streaming_replication'
listen_addresses = '*'
port = 6432
unix_socket_directories = '/tmp'
pcp_socket_dir = '/tmp'
pid_file_name = '/tmp/pgpool.pid'
work_dir = '/tmp'
backend_hostname0 = 'db'
backend_port0 = 5432
backend_weight0 = 1
backend_flag0 = 'DISALLOW_TO_FAILOVER'
enable_pool_hba = off
pool_passwd = '/tmp/pool_passwd'
allow_clear_text_frontend_auth = on
num_init_children = 20
sr_check_period = 0
search_primary_node_timeout = 1
failover_on_backend_error = off
`
)

func poolers() map[string]pooler {
	bouncer := func(suite string) pooler {
		return pooler{suite: suite, program: "pgbouncer", ports: []int{6432, 6433}, starts: "process up"}
	}
	return map[string]pooler{
		"pgbouncer bookworm": bouncer("bookworm"), "pgbouncer trixie": bouncer("trixie"), "pgbouncer forky": bouncer("forky"),
		"odyssey": {suite: "forky", program: "odyssey", config: odyssey, ports: []int{6432}, starts: "listening on"},
		"pgpool":  {suite: "forky", program: "pgpool2", config: pgpool, ports: []int{6432}, starts: "pgpool-II successfully started"},
	}
}

// start starts a pooler for a database, and returns the name of its host.
func (p pooler) start(t *testing.T, name, database string) string {
	t.Helper()
	file := func(path, content string) testcontainers.ContainerFile {
		content = strings.NewReplacer("{{password}}", otherPassword, "{{database}}", database).Replace(content)
		return testcontainers.ContainerFile{Reader: strings.NewReader(content), ContainerFilePath: path, FileMode: 0o644}
	}
	files := []testcontainers.ContainerFile{file("/pooler/config", p.config)}
	run := map[string]string{"odyssey": "odyssey /pooler/config", "pgpool2": "pgpool -n -f /pooler/config -F /dev/null -a /dev/null"}[p.program]
	if p.program == "pgbouncer" {
		files = append(files, file("/pooler/users", `"pooled" "{{password}}"`+"\n"+`"stale" "{{password}}"`+"\n"))
		for i, mode := range []string{"transaction", "session"} {
			path := "/pooler/" + mode
			files = append(files, file(path, fmt.Sprintf(pgbouncer, p.ports[i], mode)))
			run += "pgbouncer " + path + " & "
		}
		run += "wait"
	}
	host := strings.ReplaceAll(name, " ", "-")
	base, packages := "debian:"+p.suite+"-slim", p.program
	container, err := testcontainers.Run(context.Background(), "",
		testcontainers.WithDockerfile(testcontainers.FromDockerfile{
			Context: "testdata/pooler", Repo: "pephub-migrate-" + p.program, Tag: p.suite, KeepImage: true,
			BuildArgs: map[string]*string{"base": &base, "packages": &packages},
		}),
		testcontainers.WithFiles(files...),
		testcontainers.WithCmd("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "sh", "-c", run),
		network.WithNetworkName([]string{host}, server.network),
		testcontainers.WithWaitStrategy(wait.ForLog(p.starts).WithOccurrence(len(p.ports)).WithStartupTimeout(2*time.Minute)))
	testcontainers.CleanupContainer(t, container)
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// Behind a pooler every transaction may be another session: nothing of a run may stay in
// one. And what a pooler says instead of letting the client in leads to the right exit
// code.
func TestPoolers(t *testing.T) {
	admin := connect(t, "postgres")
	execute(t, admin, "CREATE ROLE pooled SUPERUSER LOGIN PASSWORD '"+otherPassword+"'; CREATE ROLE stale LOGIN PASSWORD 'another'")
	t.Cleanup(func() { execute(t, admin, "DROP ROLE pooled, stale") })
	t.Run("all", func(t *testing.T) { // so that the roles outlive them
		for name, p := range poolers() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				db := newDatabase(t, v0111...)
				host := p.start(t, name, `testpoolers_all_`+strings.ReplaceAll(name, " ", "_"))
				before := readContent(t, connect(t, db))
				for i, port := range p.ports {
					through := environment(db, "POSTGRES_HOST", host, "POSTGRES_PORT", fmt.Sprint(port), "WAIT_TIMEOUT", "30s",
						"POSTGRES_USER", "pooled", "POSTGRES_PASSWORD", otherPassword)
					if i > 0 {
						migrate(t, with(through, "MIGRATE_ACTION", "down", "MIGRATE_TARGET", "13")).want(t, 0)
					}
					upgradeBehind(t, through, db)
				}
				sameContent(t, before, readContent(t, connect(t, db)))
				refusedBehind(t, p, environment(db, "POSTGRES_HOST", host, "POSTGRES_PORT", "6432", "WAIT_TIMEOUT", "2s",
					"POSTGRES_USER", "pooled", "POSTGRES_PASSWORD", otherPassword))
			})
		}
	})
}

// upgradeBehind lets ten instances at once upgrade a database, and others look at it.
func upgradeBehind(t *testing.T, through map[string]string, db string) {
	t.Helper()
	var all sync.WaitGroup
	results, errs := make([]result, 10), make([]error, 10)
	for i := range results {
		all.Go(func() { results[i], errs[i] = runImage(context.Background(), through) })
	}
	all.Wait()
	for i, run := range results {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		run.want(t, 0)
	}
	for _, action := range []string{"up", "check", "wait", "plan"} {
		migrate(t, with(through, "MIGRATE_ACTION", action)).want(t, 0)
	}
	wantNewest(t, db)
	wantRows(t, db, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", "0")
	wantRows(t, db, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'", "0")
}

// refusedBehind tries what a pooler refuses, or cannot reach.
func refusedBehind(t *testing.T, p pooler, through map[string]string) {
	t.Helper()
	wrong, stale := 5, 5
	switch p.program {
	case "pgpool2":
		wrong, stale = 4, 4 // it says the same of a server that starts up
	case "odyssey":
		stale = 4 // it says the same of a server that is down
	}
	for name, test := range map[string]struct {
		env  map[string]string
		code int
	}{
		"wrong password":    {with(through, "POSTGRES_PASSWORD", "wrong"), 5},
		"no password":       {with(through, "POSTGRES_PASSWORD", ""), 5},
		"unknown user":      {with(through, "POSTGRES_USER", "nobody"), wrong},
		"unknown database":  {with(through, "POSTGRES_DB", "none"), 5},
		"no server":         {with(through, "POSTGRES_DB", "down"), 4},
		"stale password":    {with(through, "POSTGRES_USER", "stale"), stale},
		"unknown parameter": {with(through, "PGOPTIONS", "-cbogus=1"), 3},
	} {
		switch {
		case p.program == "odyssey" && name == "unknown parameter": // it drops options without a word
			continue
		case p.program == "pgpool2" && name == "no server": // it has one server for all databases
			continue
		case p.program == "pgpool2" && name == "wrong password": // whether it asks the server depends on what it has kept
			continue
		}
		run := migrate(t, test.env)
		run.want(t, test.code)
		if waited := strings.Contains(run.log, "msg=waiting"); waited != (test.code == 4) {
			t.Errorf("%s: it waited: %v\n%s", name, waited, run.log)
		}
	}
}
