package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// flameLoad is what runs while a flame graph is recorded: small messages, many at once.
const flameLoad = "64-byte ping-pong, 50 connections"

// flame records where ebb's CPU goes, the kernel's part included, and writes it as a flame graph.
func (b *bench) flame(ctx context.Context, engine, out string) error {
	perf, err := exec.LookPath("perf")
	if err != nil {
		return errors.New("-flame needs perf (Debian package linux-perf)")
	}
	l := loads[slices.IndexFunc(loads, func(l load) bool { return l.name == flameLoad })]
	name := "ebb, " + engine + ", 1 loop"
	all := contenders(b.ebb, newer{}, b.dir)
	i := slices.IndexFunc(all, func(p proxy) bool { return p.name == name })
	if i < 0 {
		return fmt.Errorf("engine %q: expected uring or epoll", engine)
	}
	listen, data := "127.0.0.1:"+freePort(), filepath.Join(b.dir, "perf.data")
	proc, err := all[i].start(ctx, l.network, listen, l.target(b.targets))
	if err != nil {
		return err
	}
	defer proc.stop()
	if err := awaitTCP(listen); err != nil {
		return fmt.Errorf("%w: %s", err, proc.stderr.String())
	}
	record, err := start(ctx, nil, perf, "record", "-q", "-g", "-F", "997", "-p", strconv.Itoa(proc.cmd.Process.Pid), "-o", data)
	if err != nil {
		return err
	}
	_, err = l.run(ctx, b.targets, listen, b.length)
	_ = record.cmd.Process.Signal(os.Interrupt)
	_ = record.cmd.Wait() // it reports the signal
	if err != nil {
		return err
	}
	script, err := exec.CommandContext(ctx, perf, "script", "-i", data, "-F", "comm,ip,sym").Output()
	if err != nil {
		return fmt.Errorf("perf script: %w; perf record said: %s", err, record.stderr.String())
	}
	root, err := fold(strings.NewReader(string(script)))
	if err != nil {
		return err
	}
	title := fmt.Sprintf("%s: %s, %d samples of CPU, %s", name, flameLoad, root.count, output("uname", "-sr"))
	return os.WriteFile(out, []byte(root.draw(title)), 0o644)
}

// frame is a function under those that called it.
type frame struct {
	name  string
	count int // samples in it and in what it called
	calls map[string]*frame
}

func (f *frame) call(name string) *frame {
	if f.calls == nil {
		f.calls = make(map[string]*frame)
	}
	c := f.calls[name]
	if c == nil {
		c = &frame{name: name}
		f.calls[name] = c
	}
	return c
}

// fold adds up the samples that perf script prints: a line for the thread, one for each frame from the innermost out, and an
// empty one.
func fold(r io.Reader) (*frame, error) {
	root := &frame{name: "all"}
	var stack []string
	end := func() {
		if len(stack) == 0 {
			return
		}
		root.count++
		f := root
		for _, name := range slices.Backward(stack) {
			f = f.call(name)
			f.count++
		}
		stack = stack[:0]
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		switch fields := strings.Fields(lines.Text()); {
		case len(fields) == 0:
			end()
		case lines.Text()[0] == '\t':
			stack = append(stack, strings.Join(fields[1:], " "))
		}
	}
	end()
	if root.count == 0 {
		return nil, errors.Join(lines.Err(), errors.New("perf recorded no sample"))
	}
	return root, lines.Err()
}

// draw gives the graph as SVG: a frame's width is its share of the samples, and it stands on its caller.
func (f *frame) draw(title string) string {
	const width, line, narrow = 1200.0, 17, 0.4
	var b strings.Builder
	deepest := 0
	total := float64(f.count)
	var walk func(f *frame, x float64, depth int)
	walk = func(f *frame, x float64, depth int) {
		w := width * float64(f.count) / total
		if w < narrow {
			return
		}
		deepest = max(deepest, depth)
		text := ""
		if n := int(w / 6.5); n > 3 {
			text = f.name[:min(n, len(f.name))]
		}
		fmt.Fprintf(&b, `<g><title>%s: %.1f %%</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" stroke="white"/><text x="%.1f" y="%d">%s</text></g>`+"\n",
			html.EscapeString(f.name), 100*float64(f.count)/total, x, -(depth+1)*line, w, line, colour(f.name), x+2, -depth*line-5, html.EscapeString(text))
		for _, c := range slices.SortedFunc(maps.Values(f.calls), func(a, b *frame) int {
			return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.name, b.name))
		}) {
			walk(c, x, depth+1)
			x += width * float64(c.count) / total
		}
	}
	walk(f, 0, 0)
	height := (deepest+1)*line + 30
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" font-family="monospace" font-size="11">
<rect width="100%%" height="100%%" fill="white"/><text x="4" y="16">%s</text>
<g transform="translate(0 %d)">
%s</g></svg>
`, width, height, html.EscapeString(title), height, b.String())
}

// colour tells ebb's own functions and the Go runtime's from the kernel's.
func colour(name string) string {
	switch {
	case strings.Contains(name, "ebb/"):
		return "#8fbbe8"
	case strings.HasPrefix(name, "runtime.") || strings.Contains(name, "syscall."):
		return "#b9dba0"
	default:
		return "#f2c08a"
	}
}
