package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"pephub-migrate/internal/config"
)

// Every argument but those that only ask is refused, with the correction and without what
// may be a secret.
func TestArguments(t *testing.T) {
	for arguments, says := range map[string]string{
		"":                                       "",
		"plan":                                   "pephub-migrate takes no arguments; put --env MIGRATE_ACTION=plan before the image's name",
		"check now":                              "put --env MIGRATE_ACTION=check before",
		"--env MIGRATE_ACTION=plan":              "the option --env stands behind the image's name",
		"--env=POSTGRES_PASSWORD=s3cret":         "the option --env stands behind",
		"-ePOSTGRES_PASSWORD=s3cret":             "the option -e stands behind",
		"-ps3cret":                               "the option -p stands behind",
		"MIGRATE_ACTION=plan":                    "a variable is set by --env NAME=value before the image's name",
		"postgres://u:s3cret@db/d":               "takes no arguments",
		"postgres://u:s3cret@db/d?sslmode=maybe": "takes no arguments",
		"--help-me":                              "the option --help-me stands behind",
		"bash":                                   "--help lists them",
	} {
		answer, err := askedFor(strings.Fields(arguments))
		if (err == nil) != (says == "") || answer != "" {
			t.Errorf("%q: got %q, %v", arguments, answer, err)
			continue
		}
		if err != nil && (!errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%q: got %v", arguments, err)
		}
	}
	if _, err := askedFor([]string{""}); !errors.Is(err, config.ErrInvalid) {
		t.Errorf("an empty argument: %v", err)
	}
	for _, asked := range []string{"--help", "-h", "help", "--version", "version"} {
		answer, err := askedFor([]string{asked})
		if err != nil || !strings.Contains(answer, "pephub-migrate ") || strings.HasSuffix(answer, "\n") {
			t.Errorf("%s: got %q, %v", asked, answer, err)
		}
	}
}

// What --help says of actions and exit codes is what there is, and what the README says.
func TestHelpIsComplete(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range config.Actions() {
		if !strings.Contains(help, "\n  "+action+" ") || !strings.Contains(string(readme), "\n| `"+action+"` |") {
			t.Errorf("action %s is not in both", action)
		}
	}
	known := map[string]bool{"0": true, "1": true, "2": true, "130": true, "143": true}
	for _, end := range exitCodes() {
		known[fmt.Sprint(end.code)] = true
	}
	_, codes, _ := strings.Cut(help, "Exit codes:")
	said := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^  (\d+)(?:, (\d+))? `).FindAllStringSubmatch(codes, -1) {
		said[match[1]] = true
		said[match[2]] = true
	}
	_, table, _ := strings.Cut(string(readme), "## Exit codes")
	table, _, _ = strings.Cut(table, "\n## ")
	for code := range known {
		if !said[code] {
			t.Errorf("--help does not say %s", code)
		}
		if !regexp.MustCompile(`(?m)^\| (\d+, )?` + code + `(, \d+)? \|`).MatchString(table) {
			t.Errorf("the README does not say %s", code)
		}
	}
	for code := range said {
		if code != "" && !known[code] {
			t.Errorf("--help says %s, which is none", code)
		}
	}
}
