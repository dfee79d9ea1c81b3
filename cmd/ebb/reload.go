package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

// reloadTimeout bounds a reload: new names have five seconds to be answered, and one reload may wait for another.
const reloadTimeout = 30 * time.Second

func newReloadCommand() *cobra.Command {
	var at adminFlags
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make a running ebb read its config again",
		Long: `reload makes a running ebb read its file again and do what it says, all of it or nothing, as SIGHUP does. It prints what
changed, a line for each part. What does not differ is not touched: sockets, epochs, health, counts. If anything is wrong
with the file, each problem is a line on stderr, as FILE:LINE: KEY: WHAT, the running config stays, and the exit code is 2.`,
		Example: `  ebb reload
  ebb check -c /etc/ebb/ebb.toml --against-running   what it would change`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.change(cmd, func(ctx context.Context, c *admin.Client) ([]string, error) { return c.Reload(ctx) })
		},
	}
	at.add(cmd)
	return cmd
}

// change asks for a reload or its plan, and shows what that changes.
func (a *adminFlags) change(cmd *cobra.Command, f func(context.Context, *admin.Client) ([]string, error)) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), reloadTimeout)
	defer cancel()
	var changes []string
	err := a.reach(ctx, cmd, func(ctx context.Context, c *admin.Client) (err error) {
		changes, err = f(ctx, c)
		return err
	})
	switch {
	case err != nil && a.asJSON:
		return writeProblems(cmd.OutOrStdout(), err)
	case err != nil:
		return err
	case a.asJSON:
		return writeJSON(cmd.OutOrStdout(), admin.ReloadReply{Changes: append([]string{}, changes...)})
	}
	return writeChanges(cmd.OutOrStdout(), changes)
}

func writeChanges(out io.Writer, changes []string) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintln(out, "nothing changes: the running config is the same")
		return err
	}
	for _, line := range changes {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}
