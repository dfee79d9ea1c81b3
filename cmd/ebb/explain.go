package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

func newExplainCommand() *cobra.Command {
	var at adminFlags
	var sni string
	cmd := &cobra.Command{
		Use:   "explain LISTENER [SOURCE]",
		Short: "Say where a new client would go now, and why",
		Long: `explain asks a running ebb what a new client of a listener would get: the peer, a place in the queue, or a refusal; and for
each peer of the pool why it may or may not be picked, and what the balance policy goes by. SOURCE is the ADDRESS or
ADDRESS:PORT of the client, which only balance = "hash" looks at, as at the name that --sni says. Nothing is changed by asking.`,
		Example: `  ebb explain pg
  ebb explain pg 10.1.2.3
  ebb explain pg 10.1.2.3 --json | jq -r '.next[0]'`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return fmt.Errorf("%s: missing: the name of a listener", cmd.Name())
			case len(args) > 2:
				return fmt.Errorf("%s: unexpected argument %q", cmd.Name(), args[2])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var client netip.AddrPort
			if len(args) == 2 {
				var err error
				if client, err = admin.ParseClient(args[1]); err != nil {
					return usagef("explain: %w", err)
				}
			}
			var x admin.Explanation
			if err := at.ask(cmd, func(ctx context.Context, c *admin.Client) (err error) {
				x, err = c.Explain(ctx, args[0], client, sni)
				return err
			}); err != nil {
				return err
			}
			if at.asJSON {
				return writeJSON(cmd.OutOrStdout(), x)
			}
			return writeExplanation(cmd.OutOrStdout(), &x)
		},
	}
	at.add(cmd)
	cmd.Flags().StringVar(&sni, "sni", "", `the NAME that the client's ClientHello asks for, for hash_key = "sni"`)
	cmd.ValidArgsFunction = at.complete(first(listenerNames))
	return cmd
}

// writeExplanation shows an explanation to people.
func writeExplanation(w io.Writer, x *admin.Explanation) error {
	out := &errorWriter{w: w}
	t := &tables{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), out}
	client := "a new client"
	if x.Source != "" {
		client += " from " + x.Source
	}
	fmt.Fprintf(out, "%s of listener %s %s\n", client, x.Listener, outlook(x))
	fmt.Fprintf(out, "pool %s: balance %s, epoch %d by %s, tier %d\n", x.Pool, x.Balance, x.Epoch, x.Cause, x.Tier)
	t.table("PEER TIER WEIGHT ACTIVE STANDING FIGURES WHY")
	for _, p := range x.Peers {
		t.row(cells(p.Addr, p.Tier, peerWeight(p), p.Active, p.Standing, figures(p.Figures), p.Why))
	}
	_ = t.Flush()
	return out.err
}

// outlook is what a client would get, after its name.
func outlook(x *admin.Explanation) string {
	switch x.Outcome {
	case "peer":
		text := "would go to " + strings.Join(x.Next, " or ")
		if x.Drawn {
			return text + ", by lot: another draw may differ"
		}
		if len(x.Next) > 1 {
			text += ", by the loop that accepts it"
		}
		return text
	case "wait":
		return "would wait: " + x.Reason
	case "refused":
		return "would be refused, end " + x.Reason
	}
	return "would go to one of them: " + x.Reason
}

// figures are numbers with their names, in the order of names.
func figures(by map[string]float64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		list = append(list, name+" "+strconv.FormatFloat(by[name], 'g', 4, 64))
	}
	return strings.Join(list, ", ")
}
