package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	var (
		rounds = flag.Int("rounds", 5, "how often each proxy meets each load")
		length = flag.Duration("for", 3*time.Second, "how long one load runs")
		out    = flag.String("out", "", "folder for bench.json and bench.svg; empty writes none")
		ebb    = flag.String("ebb", "", "the ebb binary; empty builds it")
		only   = flag.String("load", "", "run only the loads whose names begin so, such as UDP")
	)
	through := flag.String("through", "", "run only proxies whose names contain one of these, with commas between them, such as nginx,direct")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *length, *out, *ebb, *only, *through); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, length time.Duration, out, ebb, only, through string) error {
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
	proxies := slices.DeleteFunc(contenders(ebb, dir), func(p proxy) bool { return !p.isOneOf(through) })
	report := newReport(rounds, length, proxies)
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
	report.print(os.Stdout)
	if out == "" {
		return nil
	}
	return report.write(out)
}
