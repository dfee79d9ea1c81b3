package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

func newStatusCommand() *cobra.Command {
	var at adminFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a running ebb does now",
		Long: `status asks a running ebb at its admin address, which is the [admin] listen of its file or its --admin, and shows its
listeners, pools, peers, epochs and names.`,
		Example: `  ebb status
  ebb status --json | jq '.pools[].peers[].addr'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s admin.Status
			if err := at.ask(cmd, func(ctx context.Context, c *admin.Client) (err error) {
				s, err = c.Status(ctx)
				return err
			}); err != nil {
				return err
			}
			if at.asJSON {
				return writeJSON(cmd.OutOrStdout(), s)
			}
			return writeStatus(cmd.OutOrStdout(), &s, time.Now())
		},
	}
	at.add(cmd)
	return cmd
}

// tables writes tables of one status under each other.
type tables struct {
	*tabwriter.Writer
	out *errorWriter
}

// table begins one: a blank line, and its head.
func (t *tables) table(head string) {
	_ = t.Flush() // out keeps the error
	fmt.Fprintln(t.out)
	t.row(strings.Split(head, " "))
}

func (t *tables) row(cells []string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	fmt.Fprintln(t.Writer, strings.Join(cells, "\t"))
}

// cells shows values; an empty one is a dash, so that columns can be counted.
func cells(values ...any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case []string:
			out[i] = strings.Join(v, ",")
		case bool:
			if out[i] = "no"; v {
				out[i] = "yes"
			}
		case time.Duration:
			out[i] = age(v)
		default:
			out[i] = fmt.Sprint(v)
		}
		if out[i] == "" {
			out[i] = "-"
		}
	}
	return out
}

// writeStatus shows a status to people.
func writeStatus(w io.Writer, s *admin.Status, now time.Time) error {
	out := &errorWriter{w: w}
	t := &tables{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), out}
	state := "ready"
	switch {
	case s.Stopping:
		state = "stopping"
	case !s.Ready:
		state = "not ready"
	}
	fmt.Fprintf(out, "ebb %s, pid %d, up %s, engine %s, loops %d: %s\n", s.Version, s.PID, age(seconds(s.Uptime)), s.Engine, s.Loops, state)
	for _, reason := range s.Reasons {
		fmt.Fprintf(out, "  %s\n", printable(reason))
	}
	for _, remark := range remarks(s) {
		fmt.Fprintf(out, "  %s\n", remark)
	}

	t.table("LISTENER ADDRESS POOL ACTIVE TOTAL")
	for _, l := range s.Listeners {
		t.row(cells(l.Name+leaving(l.Leaving), l.Protocol+"://"+l.Address, l.Pool, l.Active, l.Total))
	}
	t.table("POOL BALANCE EPOCH PEERS SELECTABLE TIER PUBLISHED RECLAIMED")
	for _, p := range s.Pools {
		tier := ""
		if p.Selectable > 0 {
			tier = strconv.Itoa(p.Tier)
		}
		t.row(cells(p.Name+leaving(p.Leaving), p.Balance, p.Epoch, len(p.Peers), p.Selectable, tier, p.EpochsPublished, p.EpochsReclaimed))
	}
	t.table("POOL PEER TIER WEIGHT STATE HEALTH ROLE LAG SINCE ACTIVE TOTAL SOURCES WHY")
	for _, p := range s.Pools {
		for _, peer := range p.Peers {
			t.row(cells(p.Name, peer.Addr, peer.Tier, peerWeight(peer), peerState(peer, now), peer.Health,
				peer.Role, peerLag(peer), peerSince(peer, now), peer.Active, peer.Total, peer.Sources, peerWhy(peer)))
		}
	}
	t.table("POOL EPOCH CAUSE AGE SESSIONS RETIRED")
	for _, p := range s.Pools {
		for _, e := range p.Epochs {
			t.row(cells(p.Name, e.ID, e.Cause, now.Sub(e.Born), e.Sessions, e.Retired))
		}
	}
	if len(s.DNS) > 0 {
		t.table("NAME TYPE RESOLVER KIND TTL AGE NEXT STALE FAILURES RECORDS")
		for _, n := range s.DNS {
			t.row(cells(n.Name, n.Type, n.Resolver, n.Kind, seconds(n.TTL), seconds(n.Age), seconds(n.Next), n.Stale, n.Failures, n.Records))
		}
	}
	_ = t.Flush()
	return out.err
}

// leaving marks what a reload has let go, and sessions hold.
func leaving(it bool) string {
	if it {
		return " (leaving)"
	}
	return ""
}

// peerState is the state, and for an ejected peer for how long.
func peerState(p admin.Peer, now time.Time) string {
	if p.EjectedUntil != nil && p.EjectedUntil.After(now) {
		return p.State + " " + age(p.EjectedUntil.Sub(now))
	}
	return p.State
}

// peerLag is how far a replica is behind, if it says so.
func peerLag(p admin.Peer) string {
	if p.Lag == nil {
		return ""
	}
	return age(seconds(*p.Lag))
}

// peerSince is how long its role and health have been as they are.
func peerSince(p admin.Peer, now time.Time) string {
	if p.Since == nil {
		return ""
	}
	return age(now.Sub(*p.Since))
}

// peerWhy says of a peer that its check, or sessions, take out of service, why.
func peerWhy(p admin.Peer) string {
	switch p.State {
	case "down", "unwanted":
		return strings.TrimSuffix(p.Reason+": "+p.Detail, ": ")
	case "ejected":
		return "sessions have failed on it in a row"
	}
	switch {
	case p.Failures == 1:
		return "the last session could not connect"
	case p.Failures > 1:
		return fmt.Sprintf("the last %d sessions could not connect", p.Failures)
	}
	return ""
}

// peerWeight is the weight, how much of it an agent asks for, and who said it if that is neither the config nor DNS.
func peerWeight(p admin.Peer) string {
	text := strconv.Itoa(p.Weight)
	if p.Percent != 0 {
		text += fmt.Sprintf(" × %d %%", p.Percent)
	}
	if p.AdminWeight != nil {
		text += " (admin)"
	}
	return text
}

// errorWriter keeps the first error, so that it is looked at once, at the end.
type errorWriter struct {
	w   io.Writer
	err error
}

func (e *errorWriter) Write(b []byte) (int, error) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
	return len(b), nil
}
