package config

import (
	"errors"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Whatever a file holds: no panic, and either Problems that say where or a Config that keeps the rules.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	f.Add(whole)
	f.Add("a.b = 1\na = 2\n[log]\nlevel = 3s\n")
	f.Add("pool.p.backend = [{host = \"h\",\nport = 1}]\n[[listener]]\nname = '''\na'''\nlisten = [\"tcp+udp://:1\",]\n\"pool\" = \"p\"")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("f", text, new(Flags))
		if err == nil {
			for _, problem := range invalid(c) {
				t.Error(problem)
			}
			if missing := unlocated(strings.TrimPrefix(text, "\ufeff")); len(missing) > 0 {
				t.Errorf("no line for %s", missing)
			}
			return
		}
		checkProblems(t, err, regexp.MustCompile(`^(f|/[^:]+):[1-9][0-9]*: [^\n]+: [^\n]+$`))
	})
}

func FuzzFlags(f *testing.F) {
	for i := range flagDefs {
		f.Add("tcp://127.0.0.1:5432", "db.example.com:5432,weight=2", uint8(i), "1")
	}
	f.Add("tcp+udp://[::]:1", "[::1]:1", uint8(0), "off")
	f.Fuzz(func(t *testing.T, listen, to string, flag uint8, text string) {
		fl := flagsOf(t, "listen", listen, "to", to, flagDefs[int(flag)%len(flagDefs)].Name, text)
		c, err := FromFlags(fl)
		if err == nil {
			for _, problem := range invalid(c) {
				t.Error(problem)
			}
			return
		}
		checkProblems(t, err, regexp.MustCompile(`^--[a-z-]+: [^\n]+$`))
	})
}

func checkProblems(t *testing.T, err error, line *regexp.Regexp) {
	t.Helper()
	var ps Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Fatalf("got %#v, want Problems", err)
	}
	for _, p := range ps {
		if s := p.String(); !line.MatchString(s) {
			t.Errorf("problem %q is not one line that says where", s)
		}
	}
	if !slices.IsSortedFunc(ps, func(a, b Problem) int { return a.Line - b.Line }) {
		t.Errorf("not sorted:\n%v", ps)
	}
}

// invalid checks the rules again, from the outside.
func invalid(c *Config) (problems []string) {
	rule := func(ok bool, what string) {
		if !ok {
			problems = append(problems, what)
		}
	}
	word := func(w, words string) bool { return slices.Contains(strings.Fields(words), w) }
	resolvers, pools, names := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	rule(word(c.Log.Level, "debug info warn error") && word(c.Log.Format, "auto text json") && word(c.Log.Access, "close all off"), "log")
	rule(word(c.Relay.Engine, "auto uring epoll portable") && c.Relay.Loops >= 0, "relay")
	rule(c.ShutdownDelay >= 0 && c.ShutdownTimeout >= 0, "shutdown")
	rule(c.Admin.Listen != "", "admin")
	for _, r := range c.Resolvers {
		resolvers[r.Name] = true
		rule(len(r.Servers) > 0 && word(r.Strategy, "failover rotate race") && r.Attempts > 0 && r.EDNSSize >= 512, "resolver")
		rule(r.AttemptTimeout > 0 && r.AttemptTimeout <= r.Deadline, "resolver's deadline")
	}
	for _, p := range c.Pools {
		pools[p.Name] = true
		rule(isName(p.Name) && resolvers[p.Resolver] && word(p.Balance, "leastconn roundrobin random first sticky hash"), "pool")
		rule(p.ConnectTimeout > 0 && p.ConnectAttempts > 0 && p.MaxConns >= 0 && p.DrainTimeout >= 0, "pool's numbers")
		rule(word(p.On.Dead, onWords) && word(p.On.Removed, onWords), "on")
		rule(len(p.Backends) > 0, "backends")
		for _, b := range p.Backends {
			rule(hostProblem(b.Host) == "" && (b.Type == "srv" || b.Port >= 1 && b.Port <= 65535) && b.Weight >= 0 && b.Weight <= 65535 && b.Tier >= 0 && b.Tier <= 65535, "backend")
			rule(word(b.Type, "addr srv") && word(b.Family, "auto ipv4 ipv6 both prefer_ipv4 prefer_ipv6"), "backend's words")
			rule(b.MinRefresh > 0 && b.MinRefresh <= b.MaxRefresh && b.Refresh >= 0, "backend's refresh")
			rule(word(b.OnEmpty, "hold keep remove") && word(b.OnError, "keep remove"), "backend's policy")
			rule(b.EmptyHold >= 0 && b.MaxStale >= 0 && b.AbsentHold >= 0, "backend's holds")
		}
		if k := p.Check; k != nil {
			rule(word(k.Kind, checkKinds) && k.Interval > 0 && k.Timeout > 0 && k.FastInterval > 0 && k.FastInterval <= k.Interval && k.Fall > 0 && k.Rise > 0, "check")
		}
	}
	rule(len(c.Listeners) > 0, "no listeners")
	var all []Endpoint
	for _, l := range c.Listeners {
		rule(isName(l.Name) && !names[l.Name] && pools[l.Pool] && len(l.Listen) > 0, "listener")
		names[l.Name] = true
		rule(l.MaxConns >= 0 && l.IdleTimeout >= 0 && l.UDPIdleTimeout > 0 && l.HalfCloseTimeout >= 0 && l.Datapath == "relay", "listener's numbers")
		for _, e := range l.Listen {
			rule(word(e.Network, "tcp udp") && e.Addr.IsValid() && e.Addr.Port() > 0, "endpoint")
			rule(!slices.ContainsFunc(all, func(o Endpoint) bool { return overlap(e, o) }), "endpoints overlap")
			all = append(all, e)
		}
	}
	return problems
}

// overlap tells that the kernel will not bind both.
func overlap(e, o Endpoint) bool {
	a, b := e.Addr.Addr(), o.Addr.Addr()
	covers := func(a, b netip.Addr) bool { return a == b || a.IsUnspecified() && (a.Is6() || b.Is4()) }
	return e.Network == o.Network && e.Addr.Port() == o.Addr.Port() && (covers(a, b) || covers(b, a))
}
