package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

// switchGrace is how much longer than its timeout a switch-over is waited for: ebb ends it by itself.
const switchGrace = 10 * time.Second

func newSwitchCommand() *cobra.Command {
	var at adminFlags
	var to string
	timeout := admin.DefaultSwitchTimeout
	cmd := &cobra.Command{
		Use:   "switch POOL --to PEER [flags]",
		Short: "Hold a pool until a peer is its primary",
		Long: `switch is for a planned switch-over of a pool that wants a primary. New TCP clients wait; you promote PEER, by whatever
means; as soon as its check says that it is the primary, those that wait go there, in the order in which they came. Sessions that
live go on until the old primary loses its role: let them end before you stop it, their number is shown.

If PEER is not the primary within the timeout, if another one is, or if you stop this command, ebb lets the clients go where the
pool sends them then, and the exit code is 1. The same if the command is killed or its host dies: ebb holds the pool no longer than
the command is there. ebb hold and ebb release take over. The timeout is at most hold_timeout of the pool.`,
		Example: `  ebb switch pg-primary --to 10.0.0.7:5432
  ebb switch pg-primary --to 10.0.0.7:5432 --timeout 20s &
  patronictl switchover --candidate pg2 --force; wait $!`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return fmt.Errorf("%s: missing: the name of a pool", cmd.Name())
			case len(args) > 1:
				return fmt.Errorf("%s: unexpected argument %q", cmd.Name(), args[1])
			case to == "":
				return fmt.Errorf("%s: missing: --to with the ADDRESS:PORT of a peer", cmd.Name())
			case timeout <= 0:
				return fmt.Errorf("%s: --timeout: found %v, expected a duration above 0, such as 30s", cmd.Name(), timeout)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.switchOver(cmd, args[0], admin.SwitchRequest{To: to, Timeout: timeout.String()}, timeout+switchGrace)
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&to, "to", "", "the `ADDRESS:PORT` of the peer that becomes the primary")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how `LONG` to wait for that")
	at.add(cmd)
	cmd.ValidArgsFunction = at.complete(first(poolNames))
	at.completeFlags(cmd, map[string]named{"to": func(s *admin.Status, args []string) []string {
		if len(args) == 0 {
			return peerNames(s, args)
		}
		return poolThenPeer(s, args[:1])
	}})
	return cmd
}

// switchOver asks for one and shows its steps. When it is stopped it waits until ebb has released the pool.
func (a *adminFlags) switchOver(cmd *cobra.Command, pool string, req admin.SwitchRequest, most time.Duration) error {
	stopped, restore := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer restore()
	ctx, cancel := context.WithTimeout(stopped, most)
	defer cancel()
	out := cmd.OutOrStdout()
	held, last := false, admin.SwitchStep{}
	err := a.reach(ctx, cmd, func(ctx context.Context, c *admin.Client) error {
		return c.SwitchPool(ctx, pool, req, func(step admin.SwitchStep) error {
			before := last
			held, last = step.Held, step
			if a.asJSON {
				return json.NewEncoder(out).Encode(step)
			}
			return writeStep(out, before, step)
		})
	})
	if err == nil || stopped.Err() == nil {
		return err
	}
	restore() // a second signal ends the command at once
	if !held {
		return errors.New("switch: stopped")
	}
	return a.awaitRelease(cmd, pool)
}

// awaitRelease says what has become of a pool whose switch-over was stopped.
func (a *adminFlags) awaitRelease(cmd *cobra.Command, pool string) error {
	err := a.ask(cmd, func(_ context.Context, c *admin.Client) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), askTimeout)
		defer cancel()
		for {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			if p, ok := s.Pool(pool); !ok || !p.Held {
				return fmt.Errorf("stopped; the pool %s is released", pool)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("stopped; the pool %s is still held: ebb release %s", pool, pool)
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	return err
}

// writeStep shows a step, unless nothing is new since the one before.
func writeStep(w io.Writer, before, now admin.SwitchStep) error {
	took := time.Duration(now.Took * float64(time.Second)).Round(time.Millisecond)
	waiting, sessions := count(int(now.Waiting), "client"), count(int(now.Sessions), "session")
	var err error
	switch now.Step {
	case "held":
		if now.From == "" {
			_, err = fmt.Fprintf(w, "%s: held, and has no primary; promote %s now\n", now.Pool, now.To)
		} else {
			_, err = fmt.Fprintf(w, "%s: held, %s on %s; promote %s now\n", now.Pool, sessions, now.From, now.To)
		}
	case "done":
		if now.Detail != "" {
			_, err = fmt.Fprintf(w, "%s: %s: %s\n", now.Pool, now.To, now.Detail)
		} else {
			_, err = fmt.Fprintf(w, "%s: released to %s after %v, %s had waited\n", now.Pool, now.To, took, waiting)
		}
	case "waiting":
		if now.Primary == before.Primary && now.Waiting == before.Waiting && now.Sessions == before.Sessions {
			return nil
		}
		is := "no primary"
		if now.Primary != "" {
			is = "the primary is " + now.Primary
		}
		if now.From != "" {
			is += ", " + sessions + " on " + now.From
		}
		_, err = fmt.Fprintf(w, "%s: %v, %s wait, %s\n", now.Pool, took, waiting, is)
	}
	return err
}
