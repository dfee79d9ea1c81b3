package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// absentVerbs have a name, which scripts and habits may rely on to mean nothing else, but no function in this version.
const absentVerbs = "upgrade"

// absentCommands refuse, whatever their arguments.
func absentCommands() []*cobra.Command {
	var all []*cobra.Command
	for verb := range strings.FieldsSeq(absentVerbs) {
		all = append(all, &cobra.Command{
			Use:                verb,
			Hidden:             true,
			DisableFlagParsing: true,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return usagef("%s: not in this version", cmd.Name())
			},
		})
	}
	return all
}
