package main

import (
	_ "embed" // for the help
	"fmt"
	"slices"
	"strings"

	"pephub-migrate/internal/config"
)

// help is what --help answers.
//
//go:embed help.txt
var help string

// askedFor returns what is to be written to standard output instead of doing anything, if
// the arguments ask for that. No other argument is taken: the environment is the only
// configuration, and whoever gives one would otherwise see the database upgraded that
// they wanted to look at. The error wraps config.ErrInvalid, and repeats nothing that may
// be a secret.
func askedFor(arguments []string) (answer string, err error) {
	if len(arguments) == 0 {
		return "", nil
	}
	first := arguments[0]
	switch first {
	case "--help", "-h", "help":
		return strings.TrimSuffix(help, "\n"), nil
	case "--version", "version":
		return "pephub-migrate " + version(), nil
	}
	return "", fmt.Errorf("%w: %s", config.ErrInvalid, correction(first))
}

// correction says where what stands in the arguments belongs.
func correction(argument string) string {
	option, _, _ := strings.Cut(argument, "=")
	if !strings.HasPrefix(option, "--") {
		option = option[:min(2, len(option))] // a value may follow without a blank
	}
	switch {
	case slices.Contains(config.Actions(), argument):
		return fmt.Sprintf("pephub-migrate takes no arguments; put --env MIGRATE_ACTION=%s before the image's name", argument)
	case strings.HasPrefix(argument, "-"):
		return fmt.Sprintf("the option %s stands behind the image's name, where it is an argument of pephub-migrate, which takes none; "+
			"options of docker run stand before the image's name", option)
	case strings.Contains(argument, "="):
		return "pephub-migrate takes no arguments; a variable is set by --env NAME=value before the image's name"
	}
	return "pephub-migrate takes no arguments; its variables are set by --env NAME=value before the image's name, and --help lists them"
}
