package migrator

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"

	"pephub-migrate/internal/config"
)

// ErrFolder means that the steps in an operator's own folder cannot be used. No server
// was asked for anything.
var ErrFolder = errors.New("the steps in MIGRATIONS_DIR cannot be used")

// newFromFolder is New for the steps in the folder MIGRATIONS_DIR, which are to be tried
// in place of the image's. They are read once, and held against the rules that a test
// holds the image's against. The error wraps ErrFolder or ErrTarget, unless the image's
// own are faulty.
func newFromFolder(image fs.FS, cfg config.Config, log *slog.Logger) (*Migrator, error) {
	own, err := Load(image)
	if err != nil {
		return nil, err
	}
	steps, err := loadFolder(os.DirFS(cfg.MigrationsDir), own)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	log.Warn("the steps are those in MIGRATIONS_DIR, not the image's own",
		"folder", cfg.MigrationsDir, "steps", len(steps), "differ", strings.Join(steps.without(own), ", "))
	return newMigrator(steps, cfg, log)
}

// LoadFolder is Load for a folder that may hold more than steps, such as migrations/
// itself.
func LoadFolder(fsys fs.FS) (Steps, error) { return Load(folder{fsys}) }

func loadFolder(fsys fs.FS, own Steps) (Steps, error) {
	steps, err := LoadFolder(fsys)
	if err != nil {
		return nil, err
	}
	// A database that is at one of the first steps, or empty, would be taken for
	// something else.
	if first := own[0].Number; steps[0].Number > first {
		return nil, fmt.Errorf("the first is step %d, and those from step %d on are missing: a step is tried along with all before it",
			steps[0].Number, first)
	}
	return steps, steps.Check()
}

// without returns the names of the steps that are not, file for file, among the others.
func (s Steps) without(others Steps) []string {
	var names []string
	for _, step := range s {
		if other, _ := others.find(step.Number); !reflect.DeepEqual(step, other) {
			names = append(names, fmt.Sprintf("%d %s", step.Number, step.Name))
		}
	}
	return names
}

// folder shows of a folder what may be a step's file: what the image would embed, and
// what begins with a digit, so that Load refuses a misspelt one. It sets the rest aside:
// code, notes, what an editor or Kubernetes keeps there.
type folder struct{ fs.FS }

// ReadDir is what fs.ReadDir calls.
func (f folder) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(f.FS, name)
	return slices.DeleteFunc(entries, func(entry fs.DirEntry) bool { return !mayBeStep(entry.Name()) }), bare(err)
}

// ReadFile is what fs.ReadFile calls. It refuses what a checkout on Windows makes of a
// file: its shape would be no database's.
func (f folder) ReadFile(name string) ([]byte, error) {
	content, err := fs.ReadFile(f.FS, name)
	if err == nil && bytes.ContainsRune(content, '\r') {
		return nil, errors.New("its lines end with CR LF; make that LF")
	}
	return content, bare(err)
}

// bare returns the error without the path, which Load names, or which is ".".
func bare(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

func mayBeStep(file string) bool {
	for _, pattern := range []string{"[0-9]*", "*.up.sql", "*.down.sql", "*.schema.txt"} {
		if ok, _ := path.Match(pattern, file); ok {
			return true
		}
	}
	return false
}
