package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// sample is one run of one load through one proxy.
type sample struct {
	Rate float64 `json:"rate"`
	CPU  float64 `json:"cpu"`           // the proxy's seconds for load.cpuUnit units
	All  float64 `json:"all"`           // the same of all cores, whoever had them
	P99  float64 `json:"p99,omitempty"` // µs of one unit; 0 is not measured

	Beside float64 `json:"beside,omitempty"` // GB/s of the session beside; 0 is none
}

// report collects samples and says what they amount to.
type report struct {
	Kernel  string            `json:"kernel"`
	Cores   int               `json:"cores"`
	Date    string            `json:"date"`
	Rounds  int               `json:"rounds"`
	Seconds float64           `json:"seconds"`
	Version map[string]string `json:"versions"`
	Rows    []row             `json:"rows"`
	Idle    map[string]idle   `json:"idle,omitempty"`
	Flows   map[string]idle   `json:"idle_flows,omitempty"`

	proxies []proxy
}

// row is one load.
type row struct {
	Load     string              `json:"load"`
	Unit     string              `json:"unit"`
	CPULabel string              `json:"cpu_label"`
	Samples  map[string][]sample `json:"samples"`
}

func newReport(rounds int, length time.Duration, proxies []proxy, also newer) *report {
	r := &report{
		Kernel: output("uname", "-sr"), Cores: runtime.NumCPU(), Date: time.Now().UTC().Format(time.DateOnly), Rounds: rounds,
		Seconds: length.Seconds(), proxies: proxies, Idle: make(map[string]idle), Flows: make(map[string]idle),
		Version: map[string]string{
			"haproxy": output(sbin("haproxy"), "-v"), "nginx": output(sbin("nginx"), "-v"), "redis": output("redis-server", "--version"),
			"pgbench": output("pgbench", "--version"),
			"knot":    output(sbin("knotd"), "--version"),
			"go":      runtime.Version(),
		},
	}
	for name, file := range map[string]string{newHAProxy: also.haproxy, newNginx: also.nginx} {
		if file != "" {
			r.Version[name] = output(file, "-v")
		}
	}
	for _, l := range loads {
		r.Rows = append(r.Rows, row{l.name, l.unit, l.cpuLabel, make(map[string][]sample)})
	}
	return r
}

// output is the first line that a command prints.
func output(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

func (r *report) add(load int, proxy string, s sample) {
	r.Rows[load].Samples[proxy] = append(r.Rows[load].Samples[proxy], s)
}

// figures are the median and the extremes of one column.
type figures struct{ median, least, most float64 }

func summarise(samples []sample, of func(sample) float64) figures {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	n := len(values)
	return figures{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

func rate(s sample) float64  { return s.Rate }
func cpu(s sample) float64   { return s.CPU }
func all(s sample) float64   { return s.All }
func p99(s sample) float64   { return s.P99 }
func other(s sample) float64 { return s.Beside }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// best gives the highest median rate and the lowest median CPU of the other proxies, and the lowest of all cores beside them.
func (r *report) best(w row) (topRate, leastCPU, leastAll float64) {
	for _, p := range r.proxies {
		samples := w.Samples[p.name]
		if p.ours || p.start == nil || len(samples) == 0 {
			continue
		}
		topRate = max(topRate, summarise(samples, rate).median)
		if c := summarise(samples, cpu).median; leastCPU == 0 || c < leastCPU {
			leastCPU = c
		}
		if c := summarise(samples, all).median; leastAll == 0 || c < leastAll {
			leastAll = c
		}
	}
	return topRate, leastCPU, leastAll
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %d cores, %s; %d rounds of %.3gs; medians, spread is (most-least)/median\n", r.Kernel, r.Cores, r.Date, r.Rounds, r.Seconds)
	for _, name := range []string{"haproxy", newHAProxy, "nginx", newNginx, "redis", "pgbench", "knot", "go"} {
		if r.Version[name] == "" {
			continue
		}
		fmt.Fprintf(w, "%s: %s\n", name, r.Version[name])
	}
	for _, row := range r.Rows {
		if len(row.Samples) == 0 { // not asked for
			continue
		}
		topRate, leastCPU, leastAll := r.best(row)
		fmt.Fprintf(w, "\n%s\n", row.Load)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		has := func(figure func(sample) float64) bool {
			return slices.ContainsFunc(slices.Collect(maps.Values(row.Samples)), func(s []sample) bool { return figure(s[0]) > 0 })
		}
		timed, beside := has(p99), has(other)
		fmt.Fprintf(t, "\t%s\tspread\tof best\t%s\tspread\tof best\tall cores\tof best\t", row.Unit, row.CPULabel)
		if timed {
			fmt.Fprint(t, "p99 µs\tspread\t")
		}
		if beside {
			fmt.Fprint(t, "GB/s beside\t")
		}
		fmt.Fprintln(t)
		for _, p := range r.proxies {
			samples := row.Samples[p.name]
			if len(samples) == 0 {
				continue
			}
			f := summarise(samples, rate)
			fmt.Fprintf(t, "%s\t%.4g\t%.0f %%\t%.2f\t", p.name, f.median, 100*(f.most-f.least)/f.median, f.median/topRate)
			if c := summarise(samples, cpu); p.start != nil {
				fmt.Fprintf(t, "%.3g\t%.0f %%\t%.2f\t", c.median, 100*(c.most-c.least)/c.median, c.median/leastCPU)
			} else {
				fmt.Fprint(t, "-\t\t\t")
			}
			c := summarise(samples, all).median
			fmt.Fprintf(t, "%.3g\t%.2f\t", c, c/leastAll)
			if timed {
				l := summarise(samples, p99)
				fmt.Fprintf(t, "%.0f\t%.0f %%\t", l.median, 100*(l.most-l.least)/l.median)
			}
			if beside {
				fmt.Fprintf(t, "%.2g\t", summarise(samples, other).median)
			}
			fmt.Fprintln(t)
		}
		_ = t.Flush()
	}
	r.printIdle(w, "sessions", r.Idle)
	r.printIdle(w, "flows", r.Flows)
}

func (r *report) printIdle(w io.Writer, what string, idle map[string]idle) {
	if len(idle) == 0 {
		return
	}
	fmt.Fprintf(w, "\nidle %s, after one exchange of 512 bytes each\n", what)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\t"+what+"\tKiB of memory for each\tdescriptors for each\t\n")
	for _, p := range r.proxies {
		if i, ok := idle[p.name]; ok {
			fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t\n", p.name, i.Sessions, i.KiB, i.Descriptors)
		}
	}
	_ = t.Flush()
}

// write leaves bench.json, bench.txt and bench.svg in a folder.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var text strings.Builder
	r.print(&text)
	for name, content := range map[string]string{"bench.json": string(data) + "\n", "bench.txt": text.String(), "bench.svg": r.plot()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plot draws each load as bars: the median rate, as a part of the best of the other proxies.
func (r *report) plot() string {
	const width, bar, left = 760, 18, 190
	var b strings.Builder
	y := 30
	for _, row := range r.Rows {
		topRate, _, _ := r.best(row)
		if topRate == 0 {
			continue
		}
		fmt.Fprintf(&b, `<text x="10" y="%d" font-weight="bold">%s (%s)</text>`+"\n", y, row.Load, row.Unit)
		y += 10
		for _, p := range r.proxies {
			if len(row.Samples[p.name]) == 0 {
				continue
			}
			f := summarise(row.Samples[p.name], rate)
			colour := "#9aa5b1"
			if p.ours {
				colour = "#2f7ed8"
			}
			scale := func(v float64) float64 { return min(v/topRate/2, 1) * (width - left - 120) }
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`,
				left-8, y+bar-5, p.name, left, y, scale(f.median), bar-4, colour)
			fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#222"/>`, left+scale(f.least), left+scale(f.most), y+bar/2-2, y+bar/2-2)
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%.4g (%.2f)</text>`+"\n", left+scale(max(f.most, f.median))+6, y+bar-5, f.median, f.median/topRate)
			y += bar
		}
		y += 34
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
%s<text x="10" y="%d" fill="#555">%s, %d cores, %s; medians of %d rounds, lines from least to most, in brackets the ratio to the best other proxy</text>
</svg>
`, width, y+20, b.String(), y+6, r.Kernel, r.Cores, r.Date, r.Rounds)
}
