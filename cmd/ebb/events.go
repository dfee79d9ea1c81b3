package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

// comeBack is how long ebb events waits before it asks an ebb again that has gone.
const comeBack = time.Second

func newEventsCommand() *cobra.Command {
	var at adminFlags
	var follow bool
	var since uint64
	cmd := &cobra.Command{
		Use:   "events [flags]",
		Short: "Show what happened: epochs, peers, names, ejections",
		Long: `events shows what a running ebb remembers of what happened to it, the last thousand events, and with --follow what
happens from now on; it then also waits for an ebb that is started again. Sessions are no events; the log has those.`,
		Example: `  ebb events
  ebb events --follow
  ebb events --json | jq 'select(.kind == "peer_down")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := &errorWriter{w: cmd.OutOrStdout()}
			each := func(e admin.Event) error {
				since = e.ID
				if at.asJSON {
					_ = json.NewEncoder(out).Encode(e) // out keeps the error
				} else {
					writeEvent(out, e)
				}
				return out.err
			}
			missed := func(n uint64) {
				fmt.Fprintf(cmd.ErrOrStderr(), "ebb: events: %s too old to be remembered\n", count(int(n), "event"))
			}
			if !follow {
				return at.ask(cmd, func(ctx context.Context, c *admin.Client) error { return c.Events(ctx, since, false, each, missed) })
			}
			return at.followEvents(cmd, out, func(ctx context.Context, c *admin.Client) error {
				return c.Events(ctx, since, true, each, missed)
			})
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	cmd.Flags().Uint64Var(&since, "since", 0, "only what came after the event with this `ID`")
	at.add(cmd)
	return cmd
}

// followEvents goes on with f until the command is to end, also when ebb is started again meanwhile.
func (a *adminFlags) followEvents(cmd *cobra.Command, out *errorWriter, f func(context.Context, *admin.Client) error) error {
	ctx := cmd.Context()
	for reached := false; ; {
		err := a.reach(ctx, cmd, f)
		var transport *url.Error
		var refused *admin.Refusal
		there := !errors.As(err, &transport)
		switch reached = reached || there; {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the user has had enough, which is no failure
		case out.err != nil:
			return out.err
		case !reached, errors.As(err, &refused):
			return err
		case there: // until now
			fmt.Fprintln(cmd.ErrOrStderr(), "ebb: events: ebb has gone, waiting for it to come back")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(comeBack):
		}
	}
}

// writeEvent shows one event on one line.
func writeEvent(w io.Writer, e admin.Event) {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(e.Attrs)) {
		var text string
		switch v := e.Attrs[key].(type) {
		case string:
			text = v
		case float64: // every number of JSON
			text = strconv.FormatFloat(v, 'f', -1, 64)
		case []any:
			parts := make([]string, len(v))
			for i, p := range v {
				parts[i] = fmt.Sprint(p)
			}
			text = strings.Join(parts, ",")
		default:
			text = fmt.Sprint(v)
		}
		if text == "" {
			continue
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '"' || !strconv.IsPrint(r) }) {
			text = strconv.Quote(text)
		}
		fmt.Fprintf(&b, " %s=%s", key, text)
	}
	fmt.Fprintf(w, "%s  %-5s %-20s%s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Level, e.Kind, b.String())
}
