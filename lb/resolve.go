package lb

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Resolution is what became of asking once for a name and type. Its field names are a contract with scripts; durations
// are seconds.
type Resolution struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Resolver string   `json:"resolver"`
	Backend  string   `json:"backend"`            // of the config, whose rules count; empty: those of a backend without any
	Local    bool     `json:"local"`              // a literal, the hosts file, localhost: nobody was asked
	Kind     string   `json:"kind"`               // ok, nodata, nxdomain, failure
	Rcode    string   `json:"rcode"`              // as NOERROR; empty if nobody was asked or nobody answered
	Server   string   `json:"server"`             // who gave the answer
	Error    string   `json:"error,omitempty"`    // of a failure
	TTL      float64  `json:"ttl"`                // the smallest of the chain
	Chain    []string `json:"chain,omitempty"`    // where CNAMEs led
	Records  []string `json:"records"`            // of SRV: priority weight port target
	Hints    []string `json:"hints,omitempty"`    // addresses of SRV targets that came along
	Steps    []Step   `json:"steps"`              // the questions to servers, in the order of their ends
	Warnings []string `json:"warnings,omitempty"` // what a server does that costs something
	Effect   []string `json:"effect"`             // what a running ebb would do with the answer, in words
}

// Step is one question to one server.
type Step struct {
	Name   string   `json:"name"`
	Server string   `json:"server"`
	EDNS   int      `json:"edns"`   // UDP payload offered; 0 is none
	Result string   `json:"result"` // as in ebb_dns_queries_total
	Error  string   `json:"error,omitempty"`
	At     float64  `json:"at"` // when it began
	Took   float64  `json:"took"`
	Lines  []string `json:"lines"`          // the reply's records as in a zone file
	More   int      `json:"more,omitempty"` // records beyond those
}

// Resolve asks once for a name, by the code that a running ebb asks by, and says what that would do with the answers. With
// no types they are those that a backend of this name is asked for. If the config has a backend of this name, its pool's
// resolver and its own rules count. The error says that the name or a type cannot be asked for.
func Resolve(ctx context.Context, conf *config.Config, name string, types ...string) ([]Resolution, error) {
	b, resolver := backendOf(conf, name)
	asked, err := typesOf(b, types)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var warnings []string
	w, err := dnswatch.New(dnswatch.Options{Resolvers: resolvers(conf.Resolvers), OnWarning: func(_, server, text string) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, server+": "+text)
	}})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	var list []Resolution
	for _, typ := range asked {
		t, err := w.Resolve(ctx, resolver, name, typ)
		if err != nil {
			return nil, err
		}
		r := resolution(t)
		r.Backend, r.Effect = b.source, b.effect(typ, t.Answer)
		mu.Lock()
		r.Warnings, warnings = warnings, nil
		mu.Unlock()
		list = append(list, r)
	}
	return list, nil
}

// backendOf finds the backend of a name and its resolver; otherwise it makes one that has nothing but defaults.
func backendOf(conf *config.Config, name string) (*backend, string) {
	for _, p := range conf.Pools {
		for _, b := range newMembers(p.Backends, nil, nil, nil).backends {
			if absolute(b.conf.Host) == absolute(name) {
				return b, p.Resolver
			}
		}
	}
	c := config.DefaultBackend()
	c.Host = name
	if strings.HasPrefix(name, "_") {
		c.Type = "srv"
	}
	return &backend{conf: c}, "default"
}

func typesOf(b *backend, words []string) (types []dnswatch.Type, err error) {
	if len(words) == 0 {
		return b.types(sock.HasIPv6()), nil
	}
next:
	for _, word := range words {
		for _, typ := range []dnswatch.Type{dnswatch.TypeA, dnswatch.TypeAAAA, dnswatch.TypeSRV} {
			if strings.EqualFold(word, typ.String()) {
				types = append(types, typ)
				continue next
			}
		}
		return nil, fmt.Errorf("type %q, expected A, AAAA or SRV", word)
	}
	return types, nil
}

func resolution(t *dnswatch.Trace) Resolution {
	a := t.Answer
	r := Resolution{
		Name: a.Name, Type: a.Type.String(), Resolver: a.Resolver, Local: a.Local, Kind: a.Kind.String(), Rcode: a.RcodeName(), Server: a.Server,
		TTL: max(a.TTL, 0).Seconds(), Chain: a.Chain, Records: []string{}, Steps: make([]Step, len(t.Steps)),
	}
	if a.Err != nil {
		r.Error = a.Err.Error()
	}
	for _, rec := range a.Records {
		r.Records = append(r.Records, rec.String())
	}
	for _, h := range a.Hints {
		r.Hints = append(r.Hints, h.Target+" "+h.Addr.String())
	}
	for i, s := range t.Steps {
		r.Steps[i] = Step{
			Name: s.Name, Server: s.Server, EDNS: s.EDNS, Result: s.Result, At: s.At.Seconds(), Took: s.Took.Seconds(),
			Lines: append([]string{}, s.Lines...), More: s.More,
		}
		if s.Err != nil {
			r.Steps[i].Error = s.Err.Error()
		}
	}
	return r
}

// effect says what the decision table makes of an answer, by the very code that applies it.
func (b *backend) effect(typ dnswatch.Type, a dnswatch.Answer) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	set := &rrset{rule: b.rule()}
	filtered := set.take(a, time.Now())
	if a.Omitted > 0 {
		say("leave out %d records: a set has at most %d", a.Omitted, len(a.Records))
	}
	if len(filtered) > 0 {
		say("drop %v: not in allow_answers", filtered)
	}
	switch {
	case len(set.inForce) > 0 && typ == dnswatch.TypeSRV:
		services := (&backend{watched: &watched{sets: map[dnswatch.Type]*rrset{typ: set}}}).services()
		for _, s := range services {
			say("send to %s port %d in tier %d with weight %d, and watch its addresses", s.target, s.port, b.conf.Tier+s.tier, s.weight)
		}
	case len(set.inForce) > 0:
		say("put in force at once what is not yet: %d of %s", len(set.inForce), typ)
	case a.Kind == dnswatch.KindNoData || a.Kind == dnswatch.KindNXDomain:
		switch b.conf.OnEmpty {
		case "hold":
			say("keep what it has until this has been the answer for %v, at least %d times in a row; then it has none (on_empty)",
				b.conf.EmptyHold, minEmpties)
		case "keep":
			say("keep what it has (on_empty)")
		default:
			say("have none at once (on_empty)")
		}
	case b.conf.OnError == "remove":
		say("take it for a failure and have none at once (on_error)")
	case b.conf.MaxStale == 0:
		say("take it for a failure and keep what it has (on_error)")
	default:
		say("take it for a failure and keep what it has; after %v only peers whose check passes (max_stale)", b.conf.MaxStale)
	}
	if len(set.inForce) > 0 && b.conf.AbsentHold > 0 {
		say("keep what is missing here, but was there before, for %v (absent_hold)", b.conf.AbsentHold)
	}
	least, most := dnswatch.Watch{Refresh: b.conf.Refresh, MinRefresh: b.conf.MinRefresh, MaxRefresh: b.conf.MaxRefresh}.Interval(a)
	if least == most {
		say("look again in %v", least)
	} else {
		say("ask again in %v to %v", least.Round(time.Millisecond), most.Round(time.Millisecond))
	}
	return lines
}
