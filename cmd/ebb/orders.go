package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

func newDrainCommand() *cobra.Command {
	return newOrderCommand("drain", "Let a peer get no new sessions",
		`drain takes a peer of a running ebb out: it gets no new sessions, and on.admin_drain of its pool says what happens to those
that live (by default each is closed when it is quiet, end drained). Its check goes on. That holds until ebb ready, also if the address
leaves DNS and comes back.`)
}

func newReadyCommand() *cobra.Command {
	return newOrderCommand("ready", "Put a drained peer, or one under maintenance, back",
		`ready ends drain and maint: the peer is picked again as its weight and its check allow. It also ends an ejection. An admin
weight stays; ebb weight POOL PEER default takes that back.`)
}

func newMaintCommand() *cobra.Command {
	return newOrderCommand("maint", "Take a peer out for maintenance",
		`maint takes a peer of a running ebb out: no new sessions, and no checks. on.admin_maint of its pool says what happens to the
sessions that live (by default they are closed, end admin_killed). That holds until ebb ready, also if the address leaves DNS
and comes back.`)
}

func newWeightCommand() *cobra.Command {
	var at adminFlags
	cmd := &cobra.Command{
		Use:   "weight POOL PEER N",
		Short: "Give a peer another weight",
		Long: `weight gives a peer of a running ebb a weight that counts instead of that of the config or DNS: 0 to 65535, where 0 takes no
new sessions. "default" takes it back.`,
		Example: `  ebb weight pg-primary 10.0.0.7:5432 50
  ebb weight pg-primary 10.0.0.7:5432 default`,
		Args: poolPeerAnd("a weight"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := admin.ParseWeight(args[2])
			if err != nil {
				return usagef("weight: %w", err)
			}
			return at.order(cmd, args[0], args[1], admin.Order{Word: "weight", Weight: n})
		},
	}
	at.add(cmd)
	cmd.ValidArgsFunction = at.complete(poolThenPeer)
	return cmd
}

func newOrderCommand(word, short, long string) *cobra.Command {
	var at adminFlags
	cmd := &cobra.Command{
		Use:     word + " POOL PEER",
		Short:   short,
		Long:    long,
		Example: "  ebb " + word + " pg-primary 10.0.0.7:5432",
		Args:    poolPeerAnd(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.order(cmd, args[0], args[1], admin.Order{Word: word})
		},
	}
	at.add(cmd)
	cmd.ValidArgsFunction = at.complete(poolThenPeer)
	return cmd
}

// poolPeerAnd wants the name of a pool, the address of a peer, and more.
func poolPeerAnd(more ...string) cobra.PositionalArgs {
	want := append([]string{"the name of a pool", "the ADDRESS:PORT of a peer"}, more...)
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(want):
			return fmt.Errorf("%s: missing: %s", cmd.Name(), strings.Join(want[len(args):], ", "))
		case len(args) > len(want):
			return fmt.Errorf("%s: unexpected argument %q", cmd.Name(), args[len(want)])
		}
		return nil
	}
}

// order gives an order and shows what came of it.
func (a *adminFlags) order(cmd *cobra.Command, pool, peer string, o admin.Order) error {
	var r admin.PeerReply
	if err := a.ask(cmd, func(ctx context.Context, c *admin.Client) (err error) {
		r, err = c.OrderPeer(ctx, pool, peer, o)
		return err
	}); err != nil {
		return err
	}
	if a.asJSON {
		return writeJSON(cmd.OutOrStdout(), r)
	}
	unchanged := ""
	if !r.Changed {
		unchanged = ", as before"
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s of %s: %s, weight %d, %s on it, epoch %d%s\n",
		r.Peer.Addr, r.Pool, r.Peer.State, r.Peer.Weight, count(int(r.Peer.Active), "session"), r.Epoch, unchanged)
	return err
}
