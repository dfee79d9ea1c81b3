package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// Exit codes. Scripts depend on them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // bad usage or bad config
)

// usageError is a mistake of whoever typed the command.
type usageError struct {
	error
	see string // the command whose help says more; "" if the error says it all
}

func usagef(format string, args ...any) error { return usageError{error: fmt.Errorf(format, args...)} }

// run executes one command line and gives its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetOut(stdout)
	root.SetErr(stderr)
	nothing := len(args) == 0
	if nothing {
		args = []string{"--help"}
		root.SetOut(stderr)
	}
	root.SetArgs(args)
	began := false // everything before a verb begins is about how it was called
	root.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case nothing:
		return exitUsage
	case err == nil:
		return exitDone
	case began:
	case cmd == root:
		err = usageError{unknownVerb(root, args, err), root.Name()}
	default:
		err = usageError{err, cmd.CommandPath()}
	}
	return report(stderr, err)
}

// unknownVerb adds to an error of the first word the verbs that were perhaps meant.
func unknownVerb(root *cobra.Command, args []string, err error) error {
	i := slices.IndexFunc(args, func(arg string) bool { return !strings.HasPrefix(arg, "-") })
	if i < 0 {
		return err
	}
	if near := root.SuggestionsFor(args[i]); len(near) > 0 {
		return fmt.Errorf("%w, did you mean %s?", err, strings.Join(near, " or "))
	}
	return err
}

// report writes an error, one line for each thing that is wrong. What a file has wrong begins with its place, so that
// editors find it; everything else begins with the name of the program.
func report(stderr io.Writer, err error) int {
	var problems config.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			if p.File == "" {
				fmt.Fprint(stderr, "ebb: ")
			}
			fmt.Fprintln(stderr, p)
		}
		return exitUsage
	}
	var wrong *admin.Invalid // the same, of a running ebb
	if errors.As(err, &wrong) {
		fmt.Fprintln(stderr, wrong)
		return exitUsage
	}
	for line := range strings.SplitSeq(err.Error(), "\n") { // errors.Join has one line for each
		fmt.Fprintf(stderr, "ebb: %s\n", line)
	}
	var usage usageError
	if !errors.As(err, &usage) {
		return exitFailed
	}
	if usage.see != "" {
		fmt.Fprintf(stderr, "see '%s --help'\n", usage.see)
	}
	return exitUsage
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "ebb",
		Short: "A TCP and UDP load balancer for backends that are known by name",
		Long: `ebb takes TCP connections and UDP datagrams and passes them to backends that are known by name. It asks DNS again
and again; when a name moves, new sessions go to the new addresses and those that live go on where they are.`,
		Example: `  ebb demo                                                          see it work; nothing else is needed
  ebb run --listen tcp://127.0.0.1:5432 --to db.example.com:5432    by flags
  ebb run -c ebb.toml                                               by a file
  ebb status                                                        what a running ebb does now
  ebb dns                                                           what it knows of names
  ebb resolve db.example.com                                        ask once, and see every step`,
		Version:                    buildVersion(),
		SilenceErrors:              true,
		SilenceUsage:               true,
		DisableSuggestions:         true, // cobra's take several lines
		SuggestionsMinimumDistance: 2,
	}
	root.SetVersionTemplate(versionLine() + "\n")
	root.SetHelpCommand(newHelpCommand())
	root.AddCommand(
		newRunCommand(),
		newCheckCommand(),
		newImportCommand(),
		newReloadCommand(),
		newStatusCommand(),
		newTopCommand(),
		newExplainCommand(),
		newConnsCommand(),
		newKillCommand(),
		newEventsCommand(),
		newHoldCommand(),
		newReleaseCommand(),
		newSwitchCommand(),
		newDrainCommand(),
		newMaintCommand(),
		newReadyCommand(),
		newWeightCommand(),
		newDNSCommand(),
		newResolveCommand(),
		newDemoCommand(),
		newVersionCommand(),
		newCompletionCommand(),
		newManCommand(),
		newDoctorCommand(),
	)
	root.AddCommand(absentCommands()...)
	return root
}

// newHelpCommand is cobra's, but for a failure where it has no help to give.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB]",
		Short: "Show the help of a verb",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			switch {
			case err != nil:
				return usageError{unknownVerb(cmd.Root(), args, fmt.Errorf("help: unknown command %q", args[0])), "ebb"}
			case len(rest) > 0:
				return usageError{fmt.Errorf("help: unexpected argument %q", rest[0]), "ebb"}
			}
			about.InitDefaultHelpFlag() // the flags that are there when help is asked for by --help
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	}
}

// noArgs refuses what is left of the command line after the flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s: unexpected argument %q", cmd.Name(), args[0])
	}
	return nil
}
