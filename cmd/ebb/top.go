package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// mostTopConns is how many sessions top asks for, the oldest.
const mostTopConns = 500

func newTopCommand() *cobra.Command {
	var at adminFlags
	interval, samples := time.Second, 0
	cmd := &cobra.Command{
		Use:   "top [flags]",
		Short: "Watch what a running ebb does, live and sorted",
		Long: `top shows peers, listeners, epochs, names and sessions of a running ebb, again and again; its last line has the keys. Where
the output is no terminal, or with --samples, it writes a line for each look; with --json, the whole document on one line.
NO_COLOR is obeyed.`,
		Example: `  ebb top
  ebb top --interval 5s | tee -a ebb.txt
  ebb top --json --samples 1 | jq .ready`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			const least, most = 100 * time.Millisecond, time.Hour
			switch {
			case interval < least || interval > most:
				return usagef("top: --interval: found %s, expected a duration from %s to %s", config.Brief(interval), config.Brief(least), config.Brief(most))
			case samples < 0:
				return usagef("top: --samples: found %d, expected a number from 1", samples)
			}
			look := func(conns bool) (s topSample, err error) {
				err = at.ask(cmd, func(ctx context.Context, c *admin.Client) error {
					if s.Status, err = c.Status(ctx); err == nil && conns {
						s.conns, s.matched, err = c.Conns(ctx, admin.ConnFilter{Limit: mostTopConns})
					}
					return err
				})
				s.at = time.Now()
				return s, err
			}
			if at.asJSON || samples > 0 || !isTerminal(cmd.InOrStdin()) || !isTerminal(cmd.OutOrStdout()) {
				return topLines(cmd, look, interval, samples, at.asJSON)
			}
			first, err := look(false)
			if err != nil {
				return err // where it can be read
			}
			m := newTopModel(look, interval)
			m.take(first)
			_, err = tea.NewProgram(m, tea.WithContext(cmd.Context()), tea.WithInput(cmd.InOrStdin()), tea.WithOutput(cmd.OutOrStdout())).Run()
			if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && cmd.Context().Err() != nil {
				err = nil // the user has had enough
			}
			return err
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().DurationVar(&interval, "interval", interval, "look this often, 100ms to 1h, a `DURATION`")
	cmd.Flags().IntVar(&samples, "samples", 0, "write lines, and end after `N` of them")
	at.add(cmd)
	return cmd
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// topLines writes a line for each look. Where ebb has gone, it says so and goes on; where it has never been, it ends.
func topLines(cmd *cobra.Command, look func(conns bool) (topSample, error), interval time.Duration, samples int, asJSON bool) error {
	ctx, out := cmd.Context(), &errorWriter{w: cmd.OutOrStdout()}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var before *topSample
	for n := 0; ; {
		s, err := look(false)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && before == nil:
			return err
		case err != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "ebb: %v\n", err)
		default:
			if asJSON {
				_ = json.NewEncoder(out).Encode(s.Status) // out keeps the error
			} else {
				writeTopLine(out, &s, before)
			}
			before = &s
			n++
		}
		if out.err != nil || n == samples && n > 0 {
			return out.err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func writeTopLine(w io.Writer, s, before *topSample) {
	t := s.totals()
	fmt.Fprintf(w, "%s %s sessions=%d", s.at.Local().Format("2006-01-02 15:04:05"), s.state(), t.active)
	if before != nil {
		r := s.since(before)
		fmt.Fprintf(w, " new=%s/s in=%s/s out=%s/s", perSecond(r.sessions), bytesOf(int64(r.in)), bytesOf(int64(r.out)))
	}
	fmt.Fprintf(w, " peers=%d/%d epochs=%d waiting=%d\n", t.selectable, t.peers, t.epochs, t.waiting)
}
