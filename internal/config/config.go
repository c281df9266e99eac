// Package config reads what an operator may set, all of it from the environment.
//
//	DATABASE_URL, _FILE          connection URL or libpq keywords, or the file with it
//	POSTGRES_HOST, _PORT,        what PEPhub itself reads; PGHOST, … stand in for those
//	  _DB, _USER                 that are not set
//	POSTGRES_PASSWORD, _FILE     the password, or the file that holds it
//	POSTGRES_SSLROOTCERT_PEM, …  certificates and key themselves, without files
//	PG…                          libpq's own: see the table in libpq.go
//	MIGRATE_ACTION               up (default), down, check, wait or plan
//	MIGRATE_TARGET               a step number; default: the newest; down needs it
//	MIGRATE_EMPTY                create (default), or refuse an empty database
//	MIGRATE_ALLOW_DATA_LOSS      lets down drop what the older schema cannot hold
//	MIGRATIONS_DIR               a folder of steps in place of the image's own
//	WAIT_TIMEOUT, LOCK_TIMEOUT   durations such as 90s or 5m
//	LOG_FORMAT                   text (default) or json
//	TERMINATION_LOG              a file that takes the outcome, if it exists
//
// An empty value is an unset one.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/kelseyhightower/envconfig"
)

// ErrInvalid is wrapped by every error of FromEnv: a variable is missing, malformed or
// unknown. Its message names the variable and repeats no value that could be a secret.
var ErrInvalid = errors.New("invalid configuration")

// The actions that MIGRATE_ACTION names.
const (
	Up    = "up"    // to the target
	Down  = "down"  // back to the target
	Check = "check" // is the database at the target?
	Wait  = "wait"  // until it is
	Plan  = "plan"  // what would Up do?
)

// Actions returns the values of MIGRATE_ACTION.
func Actions() []string { return []string{Up, Down, Check, Wait, Plan} }

// What MIGRATE_EMPTY says is to become of an empty database.
const (
	createEmpty = "create"
	refuseEmpty = "refuse"
)

// Config is a complete and consistent configuration.
type Config struct {
	// Server returns how to connect; several hosts are in its Fallbacks. Each call reads
	// the files anew to which the environment points: passwords, certificates and tokens
	// change while a run waits. Its errors wrap ErrInvalid.
	Server func() (*pgconn.Config, error)

	Action        string // one of the constants above
	Target        int    // a step number, or 0 for the newest
	RefuseEmpty   bool   // an empty database is left alone
	AllowDataLoss bool
	MigrationsDir string        // a folder of steps, or empty for the image's own
	WaitTimeout   time.Duration // how long to keep trying while nobody makes progress
	LockTimeout   time.Duration // how long one statement may queue for a table lock

	Ignored  []string // libpq's variables that are set and have no effect here
	Warnings []string // what looks like a mistake, in a sentence each
}

// environment lists every variable of ours; libpq's own are read by pgx.
type environment struct {
	DatabaseURL     string        `envconfig:"DATABASE_URL"`
	DatabaseURLFile string        `envconfig:"DATABASE_URL_FILE"`
	Host            string        `envconfig:"POSTGRES_HOST"`
	Port            string        `envconfig:"POSTGRES_PORT"`
	Database        string        `envconfig:"POSTGRES_DB"`
	User            string        `envconfig:"POSTGRES_USER"`
	Password        string        `envconfig:"POSTGRES_PASSWORD"`
	PasswordFile    string        `envconfig:"POSTGRES_PASSWORD_FILE"`
	RootCertPEM     string        `envconfig:"POSTGRES_SSLROOTCERT_PEM"`
	CertPEM         string        `envconfig:"POSTGRES_SSLCERT_PEM"`
	KeyPEM          string        `envconfig:"POSTGRES_SSLKEY_PEM"`
	CRLPEM          string        `envconfig:"POSTGRES_SSLCRL_PEM"`
	Action          string        `envconfig:"MIGRATE_ACTION" default:"up"`
	Empty           string        `envconfig:"MIGRATE_EMPTY" default:"create"`
	Target          stepNumber    `envconfig:"MIGRATE_TARGET"`
	AllowDataLoss   bool          `envconfig:"MIGRATE_ALLOW_DATA_LOSS"`
	MigrationsDir   string        `envconfig:"MIGRATIONS_DIR"`
	WaitTimeout     time.Duration `envconfig:"WAIT_TIMEOUT" default:"60s"`
	LockTimeout     time.Duration `envconfig:"LOCK_TIMEOUT" default:"10s"`
	LogFormat       string        `envconfig:"LOG_FORMAT" default:"text"`
	TerminationLog  string        `envconfig:"TERMINATION_LOG"`
}

// TerminationLog returns the file that takes the outcome; Kubernetes looks for a
// container's last words there unless its pod says otherwise. Like JSONLogs it does not
// depend on the rest, so that a faulty configuration can be told too.
func TerminationLog() string { return cmp.Or(os.Getenv("TERMINATION_LOG"), "/dev/termination-log") }

// JSONLogs reports whether the log is for a collector rather than a person.
func JSONLogs() bool { return os.Getenv("LOG_FORMAT") == "json" }

// FromEnv reads the environment and the files it points to, and takes empty variables of
// ours out of it. Every error wraps ErrInvalid; the warnings are there beside it.
func FromEnv() (Config, error) {
	names := variables()
	warnings := nearMisses(names)
	cfg, err := fromEnv(names)
	cfg.Warnings = append(cfg.Warnings, warnings...)
	if err != nil {
		return Config{Warnings: cfg.Warnings}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return cfg, nil
}

func fromEnv(names map[string]bool) (Config, error) {
	if err := refuseUnknown(names); err != nil {
		return Config{}, err
	}
	unsetEmpty(names)
	warnings, err := checkValues(names)
	if err != nil {
		return Config{}, err
	}

	var env environment
	if err := envconfig.Process("", &env); err != nil {
		return Config{}, explain(err)
	}
	if err := env.check(); err != nil {
		return Config{}, err
	}
	if _, err := env.server(); err != nil {
		return Config{}, err
	}
	return Config{
		Server:        env.connection,
		Action:        env.Action,
		Target:        int(env.Target),
		RefuseEmpty:   env.Empty == refuseEmpty,
		AllowDataLoss: env.AllowDataLoss,
		MigrationsDir: env.MigrationsDir,
		WaitTimeout:   env.WaitTimeout,
		LockTimeout:   env.LockTimeout,
		Ignored:       ignored(),
		Warnings:      warnings,
	}, nil
}

// stepNumber is decimal even with the leading zeros of a file's name; envconfig by itself
// takes 000014 for octal.
type stepNumber int

// Decode is what envconfig calls.
func (n *stepNumber) Decode(value string) error {
	number, err := strconv.Atoi(value)
	if err == nil && number < 1 {
		err = strconv.ErrRange
	}
	*n = stepNumber(number)
	return err
}

// variables returns the names of our variables, as the tags of environment spell them.
func variables() map[string]bool {
	names := map[string]bool{}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[environment]()) {
		names[field.Tag.Get("envconfig")] = true
	}
	return names
}

// isServiceLink knows, by what follows the Service's name, what Kubernetes sets in every
// pod beside a Service.
func isServiceLink(name string) bool {
	return regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`).MatchString(name)
}

// refuseUnknown catches MIGRATE_TARGT, which would otherwise mean "up to the newest"
// without a word, and MIGRATION_DIR, which would mean the image's own steps.
func refuseUnknown(names map[string]bool) error {
	for _, assignment := range os.Environ() {
		name, _, _ := strings.Cut(assignment, "=")
		word, _, more := strings.Cut(name, "_")
		likeOurs := more && slices.Contains([]string{"MIGRATE", "MIGRATION", "MIGRATIONS"}, word)
		if likeOurs && !names[name] && !isServiceLink(name) {
			return fmt.Errorf("%s is not a variable of this program; correct its name or unset it", name)
		}
	}
	return nil
}

// unsetEmpty makes an empty value an unset one, as compose files write it
// (NAME=${NAME:-}); envconfig would parse it.
func unsetEmpty(names map[string]bool) {
	for name := range names {
		if os.Getenv(name) == "" {
			os.Unsetenv(name)
		}
	}
}

// explain says what a variable should look like. envconfig's own message repeats the
// value.
func explain(err error) error {
	var parse *envconfig.ParseError
	if !errors.As(err, &parse) {
		return err
	}
	want := map[string]string{
		"time.Duration":     "a duration with a unit, such as 90s or 5m",
		"bool":              "true or false",
		"config.stepNumber": "a step number, 1 or more",
	}[parse.TypeName]
	return fmt.Errorf("%s must be %s", parse.KeyName, want)
}

func (env environment) check() error {
	switch {
	case !slices.Contains(Actions(), env.Action):
		return fmt.Errorf("MIGRATE_ACTION must be one of %s", strings.Join(Actions(), ", "))
	case env.Action == Down && env.Target == 0:
		return errors.New("MIGRATE_ACTION=down needs MIGRATE_TARGET, the number of the step to go back to")
	case env.Empty != createEmpty && env.Empty != refuseEmpty:
		return fmt.Errorf("MIGRATE_EMPTY must be %s or %s", createEmpty, refuseEmpty)
	case env.WaitTimeout < 0:
		return errors.New("WAIT_TIMEOUT must not be negative")
	case env.LockTimeout < time.Millisecond || env.LockTimeout > 24*time.Hour:
		return errors.New("LOCK_TIMEOUT must be from 1ms to 24h")
	case env.LogFormat != "text" && env.LogFormat != "json":
		return errors.New("LOG_FORMAT must be text or json")
	case env.DatabaseURL != "" && env.DatabaseURLFile != "":
		return errors.New("DATABASE_URL and DATABASE_URL_FILE are both set; unset one of them")
	case env.Password != "" && env.PasswordFile != "":
		return errors.New("POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set; unset one of them")
	case (env.CertPEM == "") != (env.KeyPEM == ""):
		return errors.New("POSTGRES_SSLCERT_PEM and POSTGRES_SSLKEY_PEM go together; set both of them")
	}
	return nil
}
