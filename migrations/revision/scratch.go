package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/wait"
)

// scratch is a server on which databases are made and dropped.
type scratch struct {
	url      url.URL // of its maintenance database, with the password
	password string
	admin    *pgx.Conn
	mark     string // in the names of its databases
	made     []string
	stop     func()
}

type silence struct{}

func (silence) Printf(string, ...any) {}

func newScratch() *scratch {
	return &scratch{mark: fmt.Sprintf("%d_%08x", os.Getpid(), rand.Uint32()), stop: func() {}}
}

// openScratch connects to the server at an URL, or starts one in a container if that is
// empty.
func openScratch(ctx context.Context, address string) (*scratch, error) {
	s := newScratch()
	if address == "" {
		var err error
		if address, err = s.start(ctx); err != nil {
			s.close()
			return nil, fmt.Errorf("start a PostgreSQL in a container: %w; without Docker name a server's URL with -server", err)
		}
	}
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme != "postgres" && parsed.Scheme != "postgresql" {
		s.close()
		return nil, fmt.Errorf("-server is not a URL like postgres://user:password@host/postgres") // without what it says
	}
	s.url = *parsed
	s.password, _ = parsed.User.Password()
	if s.admin, err = pgx.Connect(ctx, address); err != nil {
		s.close()
		return nil, fmt.Errorf("connect to the scratch server: %w", err)
	}
	return s, nil
}

func (s *scratch) start(ctx context.Context) (string, error) {
	log.SetDefault(silence{})
	container, err := testcontainers.Run(ctx, "postgres:"+cmp.Or(os.Getenv("POSTGRES_VERSION"), "17"),
		testcontainers.WithEnv(map[string]string{"POSTGRES_PASSWORD": "scratch"}),
		testcontainers.WithExposedPorts("5432/tcp"),
		testcontainers.WithCmd("postgres", "-c", "fsync=off"),
		testcontainers.WithWaitStrategy(
			wait.ForLog("database system is ready to accept connections").WithOccurrence(2),
			wait.ForListeningPort("5432/tcp"),
		))
	s.stop = func() { testcontainers.TerminateContainer(container) }
	if err != nil {
		return "", err
	}
	endpoint, err := container.PortEndpoint(ctx, "5432/tcp", "")
	return "postgres://postgres:scratch@" + endpoint + "/postgres?sslmode=disable", err
}

// close drops what was made and stops what was started.
func (s *scratch) close() {
	ctx := context.Background()
	if s.admin != nil {
		for _, name := range s.made {
			if _, err := s.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
				fmt.Fprintf(os.Stderr, "the database %s is left on the scratch server: %v\n", name, err)
			}
		}
		s.admin.Close(ctx)
	}
	s.stop()
}

// database makes an empty database, in place of one that it has made for the same purpose
// before, and connects to it.
func (s *scratch) database(ctx context.Context, purpose string) (*pgx.Conn, error) {
	name := s.name(purpose)
	if slices.Contains(s.made, name) {
		if _, err := s.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			return nil, fmt.Errorf("drop a scratch database: %w", err)
		}
	}
	if _, err := s.admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, fmt.Errorf("make a scratch database: %w", err)
	}
	if !slices.Contains(s.made, name) {
		s.made = append(s.made, name)
	}
	address := s.url
	address.Path = "/" + name
	return pgx.Connect(ctx, address.String())
}

// name is a database's name, which belongs to this process alone; processes in different
// containers may have the same number.
func (s *scratch) name(purpose string) string { return "revision_" + s.mark + "_" + purpose }

// dsn leads to a database without the password.
func (s *scratch) dsn(purpose string) string {
	address := s.url
	address.Path = "/" + s.name(purpose)
	if address.User != nil {
		address.User = url.User(address.User.Username())
	}
	return address.String()
}
