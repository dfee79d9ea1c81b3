package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCheckCommand() *cobra.Command {
	var c configFlags
	cmd := &cobra.Command{
		Use:   "check {-c FILE | --listen URL --to HOST:PORT} [flags]",
		Short: "Read a config and name everything that is wrong with it",
		Long: `check reads what run would read, and starts nothing. Either all is well, which is one line and exit code 0, or each
problem is a line on stderr, as FILE:LINE: KEY: WHAT, and the exit code is 2. Names are not looked up.`,
		Example: `  ebb check -c ebb.toml
  ebb check --listen tcp://:5432 --to db.example.com:5432`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.load(cmd)
			if err != nil {
				return err
			}
			what := c.file
			if what == "" {
				what = "flags"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok (%s, %s)\n", what,
				count(len(conf.Listeners), "listener"), count(len(conf.Pools), "pool"))
			return err
		},
	}
	c.add(cmd)
	return cmd
}

// count is "1 pool" or "2 pools".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
