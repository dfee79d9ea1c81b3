package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

func newHoldCommand() *cobra.Command {
	return newHoldOrRelease(true, "hold", "Let the new clients of a pool wait",
		`hold makes new TCP clients of a pool wait, as for a planned switch-over: they are accepted and get a peer after ebb release, in
the order in which they came, or are refused after hold_timeout; at most hold_max wait. Sessions that live go on.`)
}

func newReleaseCommand() *cobra.Command {
	return newHoldOrRelease(false, "release", "Let the waiting clients of a pool go",
		`release ends ebb hold: those that wait get their peers, in the order in which they came.`)
}

func newHoldOrRelease(on bool, verb, short, long string) *cobra.Command {
	var at adminFlags
	cmd := &cobra.Command{
		Use:     verb + " POOL",
		Short:   short,
		Long:    long,
		Example: "  ebb " + verb + " pg-primary",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return fmt.Errorf("%s: missing: the name of a pool", cmd.Name())
			case len(args) > 1:
				return fmt.Errorf("%s: unexpected argument %q", cmd.Name(), args[1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var r admin.HoldReply
			if err := at.ask(cmd, func(ctx context.Context, c *admin.Client) (err error) {
				r, err = c.HoldPool(ctx, args[0], on)
				return err
			}); err != nil {
				return err
			}
			if at.asJSON {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			state, before := "released", ""
			if r.Held {
				state = "held"
			}
			if !r.Changed {
				before = ", as before"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s wait%s\n", r.Pool, state, count(int(r.Waiting), "client"), before)
			return err
		},
	}
	at.add(cmd)
	cmd.ValidArgsFunction = at.complete(first(poolNames))
	return cmd
}
