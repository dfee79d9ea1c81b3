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
		asCopy = flag.String("copy", "", "LISTEN,TARGET: be the column io.Copy, and measure nothing")
		only   = flag.String("load", "", "run only the loads whose names begin so, such as UDP")
	)
	var also newer
	flag.StringVar(&also.haproxy, "haproxy", "", "another haproxy, such as the newest, for two more columns")
	flag.StringVar(&also.nginx, "nginx", "", "another nginx, for two more columns; its stream module is looked for in ../lib/nginx/modules, seen from the program")
	through := flag.String("through", "", "run only proxies whose names contain one of these, with commas between them, such as nginx,direct")
	graph := flag.String("flame", "", "write a flame graph of ebb to this file, and measure nothing")
	engine := flag.String("engine", "uring", "for -flame: uring, epoll")
	operation := flag.Bool("operate", false, "measure what it costs to look at ebb, to reload it and to bother its API, and nothing else")
	flag.Parse()
	if listen, target, ok := strings.Cut(*asCopy, ","); ok {
		fmt.Fprintln(os.Stderr, "bench:", copyAll(listen, target))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := bench{ebb: *ebb, length: *length}
	var err error
	switch {
	case *graph != "":
		err = b.with(ctx, flameLoad, func() error { return b.flame(ctx, *engine, *graph) })
	case *operation:
		err = b.with(ctx, "none", func() error { return b.operate(ctx, os.Stdout) })
	default:
		err = b.with(ctx, *only, func() error { return b.compare(ctx, *rounds, *out, also, *only, *through) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	ebb    string
	length time.Duration // of one load
	dir    string        // for files that go with it
	*targets
}

// with builds ebb if it has to, starts the targets of the loads whose names begin with only, and calls f.
func (b *bench) with(ctx context.Context, only string, f func() error) (err error) {
	if b.dir, err = os.MkdirTemp("", "ebb-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.ebb == "" {
		if b.ebb, err = build(ctx, filepath.Join(b.dir, "ebb")); err != nil {
			return err
		}
	}
	if b.targets, err = startTargets(ctx, b.dir, only); err != nil {
		return err
	}
	defer b.close()
	return f()
}

// compare measures ebb beside its peers.
func (b *bench) compare(ctx context.Context, rounds int, out string, also newer, only, through string) error {
	proxies := slices.DeleteFunc(contenders(b.ebb, also, b.dir), func(p proxy) bool { return !p.isOneOf(through) })
	report := newReport(rounds, b.length, proxies, also)
	for round := range rounds {
		for i := range proxies {
			// Another order in each round, so that nobody always follows the same neighbour.
			p := proxies[(i+round)%len(proxies)]
			if err := p.measure(ctx, b.targets, b.length, only, report); err != nil {
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
			if err := m.of(p, ctx, b.targets, report); err != nil {
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
