package lb

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebb-lb/ebb/lb/config"
)

// plan says in words what a config changes of another, a line for each part, and names the pools of both that differ. Nothing is
// looked at but the two.
func plan(old, now *config.Config) (lines []string, pools map[string]bool) {
	part := func(what string, changed []string) {
		if len(changed) > 0 {
			lines = append(lines, what+": changed "+strings.Join(changed, ", "))
		}
	}
	part("admin", config.Changed(&old.Admin, &now.Admin))
	part("log", config.Changed(&old.Log, &now.Log))
	if keys := config.Changed(&old.Relay, &now.Relay); len(keys) > 0 {
		lines = append(lines, "relay: changed "+strings.Join(keys, ", ")+" (needs restart)")
	}
	if old.ShutdownDelay != now.ShutdownDelay {
		lines = append(lines, "shutdown_delay: changed")
	}
	if old.StateFile != now.StateFile {
		lines = append(lines, "state_file: changed")
	}
	if old.ShutdownTimeout != now.ShutdownTimeout {
		lines = append(lines, "shutdown_timeout: changed")
	}
	lines = append(lines, planList("resolver", old.Resolvers, now.Resolvers, func(r *config.Resolver) string { return r.Name }, nil)...)
	pools = make(map[string]bool)
	lines = append(lines, planList("pool", old.Pools, now.Pools, func(p *config.Pool) string { return p.Name }, func(a, b *config.Pool) string {
		pools[b.Name] = true
		if needsTable(a, b) {
			return " (a new epoch table; sessions stay on the old one)"
		}
		return ""
	})...)
	lines = append(lines, planList("listener", old.Listeners, now.Listeners, func(l *config.Listener) string { return l.Name }, nil)...)
	return lines, pools
}

// planList compares parts that have names: what is added, what is gone, what differs, with a note about each of those.
func planList[T any](kind string, old, now []T, name func(*T) string, note func(a, b *T) string) (lines []string) {
	before := make(map[string]*T, len(old))
	for i := range old {
		before[name(&old[i])] = &old[i]
	}
	for i := range now {
		n := &now[i]
		o, there := before[name(n)]
		delete(before, name(n))
		if !there {
			lines = append(lines, kind+" "+name(n)+": added")
			continue
		}
		if keys := config.Changed(o, n); len(keys) > 0 {
			line := kind + " " + name(n) + ": changed " + strings.Join(keys, ", ")
			if note != nil {
				line += note(o, n)
			}
			lines = append(lines, line)
		}
	}
	for gone := range before {
		lines = append(lines, kind+" "+gone+": removed")
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Compare(a, b) })
	return lines
}

// needsTable tells that a pool cannot take its new config as it is: whether peers are checked is fixed when an epoch table is made.
func needsTable(old, now *config.Pool) bool { return (old.Check == nil) != (now.Check == nil) }

// fixed lists what a reload cannot change.
func fixed(old, now *config.Config) (problems config.Problems) {
	if old.Admin.Listen == now.Admin.Listen { // else it is another socket
		for _, key := range config.Changed(&old.Admin, &now.Admin) {
			if key == "mode" || key == "group" {
				problems = append(problems, now.Problem("admin."+key, "changed, which takes a restart, or another path"))
			}
		}
	}
	return append(problems, rebound(old, now)...)
}
