package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

// defaultConns is how many sessions a table shows where nobody says how many.
const defaultConns = 100

func newConnsCommand() *cobra.Command {
	var at adminFlags
	var by connFlags
	limit := defaultConns
	cmd := &cobra.Command{
		Use:   "conns [flags]",
		Short: "List the sessions that live, the oldest first",
		Long: `conns asks a running ebb for its sessions, TCP connections and UDP flows: which client is on which peer and epoch, for
how long, what it has moved, and for how long nothing moved. Filters hold together.`,
		Example: `  ebb conns
  ebb conns --pool pg --peer 10.0.0.7:5432
  ebb conns --source 10.1.0.0/16 --min-age 1h --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := by.filter
			if f.Limit = limit; limit < 1 || limit > admin.MaxConnList {
				return usagef("conns: --limit: found %d, expected 1 to %d", limit, admin.MaxConnList)
			}
			var list []admin.Conn
			n := 0
			if err := at.ask(cmd, func(ctx context.Context, c *admin.Client) (err error) {
				list, n, err = c.Conns(ctx, f)
				return err
			}); err != nil {
				return err
			}
			if at.asJSON {
				return writeJSON(cmd.OutOrStdout(), list)
			}
			return writeConns(cmd.OutOrStdout(), list, n)
		},
	}
	by.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", limit, "show at most `N`")
	at.add(cmd)
	at.completeFlags(cmd, map[string]named{"listener": listenerNames, "pool": poolNames, "peer": peerNames})
	return cmd
}

func newKillCommand() *cobra.Command {
	var at adminFlags
	var by connFlags
	cmd := &cobra.Command{
		Use:   "kill {ID... | filters}",
		Short: "End sessions at once, by id or by filter",
		Long: `kill ends sessions of a running ebb; their end is admin_killed. The ids are those of ebb conns and of the log. With
filters it ends every session for which all of them hold; ebb conns with the same filters shows them first. The peer goes on
to get new sessions.`,
		Example: `  ebb kill 4711 4712
  ebb kill --pool pg --peer 10.0.0.7:5432`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && by.filter.All():
				return usageError{fmt.Errorf("kill: give ids, or a filter such as --peer"), cmd.CommandPath()}
			case len(args) > 0 && !by.filter.All():
				return usageError{fmt.Errorf("kill: found ids and filters, expected one of both"), cmd.CommandPath()}
			}
			ids := make([]uint64, len(args))
			for i, text := range args {
				id, err := strconv.ParseUint(text, 10, 64)
				if err != nil || id == 0 {
					return usagef("kill: found %q, expected the id of a session, as ebb conns shows it", text)
				}
				ids[i] = id
			}
			killed := 0
			err := at.ask(cmd, func(ctx context.Context, c *admin.Client) (err error) {
				if len(ids) == 0 {
					killed, err = c.KillConns(ctx, by.filter)
					return err
				}
				for _, id := range ids {
					if err := c.KillConn(ctx, id); err != nil {
						return err
					}
					killed++
				}
				return nil
			})
			if err != nil {
				return err
			}
			if at.asJSON {
				return writeJSON(cmd.OutOrStdout(), admin.KillReply{Killed: killed})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s told to end\n", count(killed, "session"))
			return err
		},
	}
	by.add(cmd)
	at.add(cmd)
	at.completeFlags(cmd, map[string]named{"listener": listenerNames, "pool": poolNames, "peer": peerNames})
	return cmd
}

// connFlags are the flags that say which sessions are meant.
type connFlags struct{ filter admin.ConnFilter }

func (c *connFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&c.filter.Listener, "listener", "", "those of this listener, by `NAME`")
	fs.StringVar(&c.filter.Pool, "pool", "", "those of this pool, by `NAME`")
	fs.Var(&parsed[string]{&c.filter.Peer, admin.ParsePeer, "ADDRESS[:PORT]"}, "peer", "those on this peer")
	fs.Var(&parsed[netip.Prefix]{&c.filter.Source, admin.ParseSource, "CIDR"}, "source", "those of clients in this network")
	fs.Uint64Var(&c.filter.Epoch, "epoch", 0, "those that hold the epoch `ID`")
	fs.DurationVar(&c.filter.MinAge, "min-age", 0, "those that are older than this `DURATION`")
}

// writeConns shows one line for each session.
func writeConns(w io.Writer, list []admin.Conn, n int) error {
	out := &errorWriter{w: w}
	t := &tables{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), out}
	t.row(cells("ID", "PROTO", "LISTENER", "POOL", "CLIENT", "PEER", "EPOCH", "AGE", "IDLE", "IN", "OUT"))
	for _, c := range list {
		epoch := ""
		if c.Epoch > 0 {
			epoch = strconv.FormatUint(c.Epoch, 10)
		}
		t.row(cells(c.ID, c.Protocol, c.Listener, c.Pool, c.Client, c.Peer, epoch, seconds(c.Age), seconds(c.Idle), bytesOf(c.In), bytesOf(c.Out)))
	}
	_ = t.Flush()
	if n > len(list) {
		fmt.Fprintf(out, "\n%d of %s, the oldest; --limit shows more, filters show fewer\n", len(list), count(n, "session"))
	}
	return out.err
}

// bytesOf is a number of bytes in the largest unit that it has.
func bytesOf(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	f, u := float64(n)/1024, 0
	for f >= 1023.95 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	return fmt.Sprintf("%.1f%c", f, units[u])
}
