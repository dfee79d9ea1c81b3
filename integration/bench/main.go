package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	var (
		rounds = flag.Int("rounds", 5, "how often each proxy meets each load")
		length = flag.Duration("for", 3*time.Second, "how long one load runs")
		out    = flag.String("out", "", "folder for bench.json and bench.svg; empty writes none")
		ebb    = flag.String("ebb", "", "the ebb binary; empty builds it")
		newer  = flag.String("haproxy", "", "another haproxy binary, such as the newest, for two more columns")
		asCopy = flag.String("copy", "", "LISTEN,TARGET: be the column io.Copy, and measure nothing")
		only   = flag.String("load", "", "run only the loads whose names begin so, such as UDP")
	)
	through := flag.String("through", "", "run only proxies whose names contain one of these, with commas between them, such as nginx,direct")
	graph := flag.String("flame", "", "write a flame graph of ebb to this file, and measure nothing")
	engine := flag.String("engine", "uring", "for -flame: uring, epoll")
	flag.Parse()
	if listen, target, ok := strings.Cut(*asCopy, ","); ok {
		fmt.Fprintln(os.Stderr, "bench:", copyAll(listen, target))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *graph != "" {
		if err := flame(ctx, *length, *ebb, *engine, *graph); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, *rounds, *length, *out, *ebb, *newer, *only, *through); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, length time.Duration, out, ebb, newer, only, through string) error {
	dir, err := os.MkdirTemp("", "ebb-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if ebb == "" {
		if ebb, err = build(ctx, filepath.Join(dir, "ebb")); err != nil {
			return err
		}
	}
	t, err := startTargets(ctx, dir, only)
	if err != nil {
		return err
	}
	defer t.close()
	proxies := slices.DeleteFunc(contenders(ebb, newer, dir), func(p proxy) bool { return !p.isOneOf(through) })
	report := newReport(rounds, length, proxies, map[string]string{newHAProxy: newer})
	for round := range rounds {
		for i := range proxies {
			// Another order in each round, so that nobody always follows the same neighbour.
			p := proxies[(i+round)%len(proxies)]
			if err := p.measure(ctx, t, length, only, report); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, rounds, p.name)
		}
	}
	for _, m := range idleMeasures {
		for _, p := range proxies {
			if !strings.HasPrefix(m.name, only) {
				continue
			}
			if err := m.of(p, ctx, t, report); err != nil {
				return fmt.Errorf("%s: %s: %w", p.name, m.name, err)
			}
		}
	}
	report.print(os.Stdout)
	if out == "" {
		return nil
	}
	return report.write(out)
}
