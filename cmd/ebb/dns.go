package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

func newDNSCommand() *cobra.Command {
	var at adminFlags
	cmd := &cobra.Command{
		Use:   "dns [NAME]",
		Short: "Show what a running ebb knows of names",
		Long: `dns asks a running ebb what DNS says: for each name and type the last answer, its age, when it is asked for again, and
the peers that come of it. With a NAME it shows all of that name.`,
		Example: `  ebb dns
  ebb dns db.example.com
  ebb dns refresh db.example.com`,
		Args: atMostOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			var list []admin.Name
			if err := at.ask(cmd, func(ctx context.Context, c *admin.Client) error {
				s, err := c.Status(ctx)
				list = s.DNS
				return err
			}); err != nil {
				return err
			}
			if len(args) > 0 {
				list = slices.DeleteFunc(list, func(n admin.Name) bool { return n.Name != plainName(args[0]) })
				if len(list) == 0 {
					return fmt.Errorf("dns: the name %q is not watched; ebb dns lists those that are", args[0])
				}
			}
			switch out := cmd.OutOrStdout(); {
			case at.asJSON:
				return writeJSON(out, append([]admin.Name{}, list...))
			case len(args) > 0:
				return writeName(out, list)
			default:
				return writeNames(out, list)
			}
		},
	}
	at.add(cmd)
	cmd.ValidArgsFunction = at.complete(first(dnsNames))
	cmd.AddCommand(newDNSRefreshCommand())
	return cmd
}

func newDNSRefreshCommand() *cobra.Command {
	var at adminFlags
	cmd := &cobra.Command{
		Use:   "refresh [NAME]",
		Short: "Make a running ebb ask for a name now, or for all",
		Long:  `refresh asks for a name now, though not sooner than its min_refresh after the last question. It does not wait for the answer.`,
		Example: `  ebb dns refresh
  ebb dns refresh db.example.com`,
		Args: atMostOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := strings.Join(args, "")
			n := 0
			if err := at.ask(cmd, func(ctx context.Context, c *admin.Client) (err error) {
				n, err = c.RefreshNames(ctx, name)
				return err
			}); err != nil {
				return err
			}
			if at.asJSON {
				return writeJSON(cmd.OutOrStdout(), admin.RefreshReply{Questions: n})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s on the way\n", count(n, "question"))
			return err
		},
	}
	at.add(cmd)
	cmd.ValidArgsFunction = at.complete(first(dnsNames))
	return cmd
}

// atMostOneName refuses more arguments than a name.
func atMostOneName(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("%s: unexpected argument %q", cmd.Name(), args[1])
	}
	return nil
}

// plainName is a name as documents show it.
func plainName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// writeNames shows one line for each name and type.
func writeNames(w io.Writer, list []admin.Name) error {
	out := &errorWriter{w: w}
	t := &tables{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), out}
	t.row(strings.Fields("NAME TYPE RESOLVER KIND RCODE TTL AGE NEXT STALE FAILURES SERVER RECORDS PEERS ERROR"))
	for _, n := range list {
		t.row(cells(n.Name, n.Type, n.Resolver, n.Kind, n.Rcode, seconds(n.TTL), seconds(n.Age), seconds(n.Next), n.Stale, n.Failures, n.Server,
			len(n.Records), len(n.Peers), n.Error))
	}
	_ = t.Flush()
	return out.err
}

// writeName shows all that is known of one name, somewhat as dig does.
func writeName(w io.Writer, list []admin.Name) error {
	out := &errorWriter{w: w}
	for i, n := range list {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, ";; %s %s, resolver %s\n", n.Name, n.Type, n.Resolver)
		fmt.Fprintf(out, ";; %s, ttl %s, age %s, asked again in %s\n", verdict(n.Kind, n.Rcode, n.Server), age(seconds(n.TTL)), age(seconds(n.Age)), age(seconds(n.Next)))
		if n.Failures > 0 {
			fmt.Fprintf(out, ";; %s in a row, stale: %v: %s\n", count(n.Failures, "failure"), n.Stale, n.Error)
		}
		if len(n.Chain) > 0 {
			fmt.Fprintf(out, ";; by way of %s\n", strings.Join(n.Chain, ", "))
		}
		for _, rec := range n.Records {
			fmt.Fprintln(out, rec)
		}
		for _, p := range n.Peers {
			fmt.Fprintf(out, ";; peer %s of pool %s\n", p.Addr, p.Pool)
		}
	}
	return out.err
}

// verdict is an answer in a few words.
func verdict(kind, rcode, server string) string {
	if rcode != "" {
		kind += " (" + rcode + ")"
	}
	if server != "" {
		kind += " from " + server
	}
	return kind
}
