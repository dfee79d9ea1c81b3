package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages of ebb and its verbs",
		Example: `  ebb man /usr/local/share/man/man1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("man: missing: a directory")
			}
			if len(args) > 1 {
				return fmt.Errorf("man: found %q, expected a directory", strings.Join(args, " "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("man: %w", err)
			}
			cmd.Root().DisableAutoGenTag = true // the same ebb writes the same pages
			return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Title: "EBB", Section: "1", Source: buildVersion(), Manual: "ebb"}, args[0])
		},
	}
}
