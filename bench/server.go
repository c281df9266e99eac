package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/wait"
)

// server is the PostgreSQL that everything is measured on, with the settings of its
// image, but for the number of connections.
type server struct {
	address string // host:port
	version string
	admin   *pgconn.PgConn
}

const (
	superuser = "postgres"
	password  = "bench"
)

type silence struct{}

func (silence) Printf(string, ...any) {}

// startServer starts a server whose passwords are SCRAM. What it returns stops it.
func startServer(ctx context.Context) (*server, func(), error) {
	log.SetDefault(silence{})
	major := os.Getenv("POSTGRES_VERSION")
	if major == "" {
		major = "17"
	}
	container, err := testcontainers.Run(ctx, "postgres:"+major,
		testcontainers.WithEnv(map[string]string{"POSTGRES_PASSWORD": password}),
		testcontainers.WithExposedPorts("5432/tcp"),
		// All that start at once are to find room, as no peer tries again.
		testcontainers.WithCmd("postgres", "-c", "max_connections=300"),
		testcontainers.WithWaitStrategy(
			wait.ForLog("database system is ready to accept connections").WithOccurrence(2),
			wait.ForListeningPort("5432/tcp"),
		),
	)
	stop := func() { testcontainers.TerminateContainer(container) }
	if err != nil {
		stop()
		return nil, nil, err
	}
	s := &server{}
	if s.address, err = container.PortEndpoint(ctx, "5432/tcp", ""); err == nil {
		s.admin, err = s.connect(ctx, "postgres")
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	s.version, _, _ = strings.Cut(s.admin.ParameterStatus("server_version"), " ")
	return s, stop, nil
}

// url leads to a database at an address: the server's own, or that of a proxy.
func url(address, database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", superuser, password, address, database)
}

func (s *server) connect(ctx context.Context, database string) (*pgconn.PgConn, error) {
	return pgconn.Connect(ctx, url(s.address, database))
}

// create makes a database: a copy of another, or an empty one if that is "". The first
// connection of a new database fills caches on disk, which is nobody's work but the
// server's, so it is made here.
func (s *server) create(ctx context.Context, name, template string) error {
	if err := s.drop(ctx, name); err != nil {
		return err
	}
	create := "CREATE DATABASE " + name
	if template != "" {
		create += " TEMPLATE " + template
		if major, _, _ := strings.Cut(s.version, "."); major >= "15" {
			create += " STRATEGY file_copy"
		}
	}
	if err := execute(ctx, s.admin, create); err != nil {
		return err
	}
	conn, err := s.connect(ctx, name)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return execute(ctx, conn, "SELECT 1")
}

func (s *server) drop(ctx context.Context, name string) error {
	return execute(ctx, s.admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

// run executes statements in a database, on a connection of their own, and returns how
// long that took.
func (s *server) run(ctx context.Context, database, sql string) (time.Duration, error) {
	conn, err := s.connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	start := time.Now()
	err = execute(ctx, conn, sql)
	return time.Since(start), err
}

// ask returns the first row of a query, as text.
func (s *server) ask(ctx context.Context, database, sql string) ([]string, error) {
	conn, err := s.connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	last := results[len(results)-1]
	if len(last.Rows) == 0 {
		return nil, fmt.Errorf("no row for %s", sql)
	}
	var values []string
	for _, value := range last.Rows[0] {
		values = append(values, string(value))
	}
	return values, nil
}

// number returns the only value of a query.
func (s *server) number(ctx context.Context, database, sql string) (int64, error) {
	values, err := s.ask(ctx, database, sql)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(values[0], 10, 64)
}

func execute(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
		first, _ := bufio.NewReader(strings.NewReader(sql)).ReadString('\n')
		return fmt.Errorf("%s: %w", strings.TrimSpace(first), err)
	}
	return nil
}
