package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb"
	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

func newCheckCommand() *cobra.Command {
	var c configFlags
	var at adminFlags
	var against bool
	cmd := &cobra.Command{
		Use:   "check {-c FILE | --listen URL --to HOST:PORT} [flags]",
		Short: "Read a config and name everything that is wrong with it",
		Long: `check reads what run would read, and starts nothing. Either all is well, which is one line and exit code 0, or each
problem is a line on stderr, as FILE:LINE: KEY: WHAT, and the exit code is 2. Names are not looked up. With --against-running a
running ebb says what a reload with this file would change. With --json what is wrong is a document on stdout, too.`,
		Example: `  ebb check -c ebb.toml
  ebb check --listen tcp://:5432 --to db.example.com:5432
  ebb check -c ebb.toml --against-running
  ebb check -c ebb.toml --json | jq -r '.problems[].line'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.load(cmd)
			if err == nil && against {
				return checkAgainst(cmd, &at, conf, c.file)
			}
			if err == nil {
				err = probe(conf)
			}
			switch {
			case err != nil && at.asJSON:
				return writeProblems(cmd.OutOrStdout(), err)
			case err != nil:
				return err
			}
			return writeChecked(cmd.OutOrStdout(), at.asJSON, c.file, conf)
		},
	}
	c.add(cmd)
	cmd.Flags().BoolVar(&against, "against-running", false, "show what a reload of the ebb at the admin address would change")
	cmd.Flags().BoolVar(&at.asJSON, "json", false, "a document, for scripts")
	return cmd
}

// probe is lb.Probe, whose problems are an error.
func probe(conf *config.Config) error {
	if problems := lb.Probe(conf); len(problems) > 0 {
		return problems
	}
	return nil
}

// writeChecked says that all is well.
func writeChecked(out io.Writer, asJSON bool, file string, conf *config.Config) error {
	if asJSON {
		return writeJSON(out, struct {
			File      string    `json:"file,omitempty"` // empty for flags
			Listeners int       `json:"listeners"`
			Pools     int       `json:"pools"`
			Problems  []problem `json:"problems"`
		}{file, len(conf.Listeners), len(conf.Pools), []problem{}})
	}
	_, err := fmt.Fprintf(out, "%s: ok (%s, %s)\n", cmp.Or(file, "flags"), count(len(conf.Listeners), "listener"), count(len(conf.Pools), "pool"))
	return err
}

// checkAgainst asks the ebb at the admin address of the config, or at --admin.
func checkAgainst(cmd *cobra.Command, at *adminFlags, conf *config.Config, file string) error {
	if file == "" {
		return usagef("check: --against-running wants a file, for flags cannot be reloaded")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	at.addr, at.token = conf.Admin.Listen, string(conf.Admin.Token)
	return at.change(cmd, func(ctx context.Context, c *admin.Client) ([]string, error) { return c.Plan(ctx, file, string(text)) })
}

// count is "1 pool" or "2 pools".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
