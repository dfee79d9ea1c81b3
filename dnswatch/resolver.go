package dnswatch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	maxQueries   = 16 // questions in one resolution
	failuresOut  = 3  // failures in a row after which a server is passed over
	serverPause  = 30 * time.Second
	localHolds   = 5 * time.Second // as often as files are looked at
	literalHolds = 24 * time.Hour
)

// resolver turns names into answers, by way of literals, the hosts file and servers.
type resolver struct {
	conf     ResolverConfig
	hosts    *hostsFile
	system   *resolvConf // nil if "system" is not among the servers
	exchange func(context.Context, server, question) (*dns.Msg, error)
	onQuery  func(resolver, server, result string)

	mu     sync.Mutex
	health map[netip.AddrPort]*serverHealth
	rotate int
}

// serverHealth is what this resolver has seen of a server.
type serverHealth struct {
	failures int // timeouts and refusals in a row
	until    time.Time
}

func newResolver(c ResolverConfig, o Options) *resolver {
	c = c.withDefaults()
	r := &resolver{conf: c, hosts: newHostsFile(c.HostsFile), health: make(map[netip.AddrPort]*serverHealth), onQuery: o.OnQuery}
	r.exchange = wire{c.EDNSSize, o.OnDiscard}.exchange
	if slices.Contains(c.Servers, "system") {
		r.system = newResolvConf(c.ResolvConf)
	}
	return r
}

// changed looks at the files and says whether one has changed.
func (r *resolver) changed() bool {
	hosts := r.hosts.reload()
	return r.system != nil && r.system.reload() || hosts
}

// resolve answers a name. It never returns records with an error.
func (r *resolver) resolve(ctx context.Context, name string, typ Type) Answer {
	a := Answer{Name: strings.TrimSuffix(name, "."), Type: typ, Resolver: r.conf.Name}
	if addr, ok := literal(name); ok {
		return a.local(literalHolds, "literal", []netip.Addr{addr})
	}
	if isLocalhost(name) {
		return a.local(literalHolds, "localhost", []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})})
	}
	if addrs, ok := r.hosts.find(a.Name); ok {
		return a.local(localHolds, "hosts", addrs)
	}
	ctx, cancel := context.WithTimeout(ctx, r.conf.Deadline)
	defer cancel()
	budget := maxQueries
	best := KindNXDomain
	for _, full := range r.system.candidates(name) {
		a = r.follow(ctx, a, full, &budget)
		switch a.Kind {
		case KindOK, KindFailure:
			return a
		case KindNoData:
			best = KindNoData
		}
	}
	a.Kind = best
	return a
}

// local fills an answer for which nobody is asked.
func (a Answer) local(ttl time.Duration, server string, addrs []netip.Addr) Answer {
	a.Local, a.TTL, a.Server, a.Kind = true, ttl, server, KindNoData
	for _, addr := range addrs {
		if addr.Is4() == (a.Type == TypeA) {
			a.Kind = KindOK
			a.Records = append(a.Records, Record{addr, ttl})
		}
	}
	a.Records = tidy(a.Records)
	return a
}

// follow asks for an absolute name and, where a reply ends at a CNAME, for its target.
func (r *resolver) follow(ctx context.Context, a Answer, name string, budget *int) Answer {
	a.Chain, a.TTL, a.Records = nil, -1, nil
	for {
		m, from, err := r.ask(ctx, question{name, a.Type}, budget)
		if err != nil {
			a.Kind, a.Err, a.Server = KindFailure, err, from
			if m != nil {
				a.Rcode = m.Rcode
			}
			return a
		}
		a.Server, a.Rcode = from, m.Rcode
		c, err := collect(m, question{name, a.Type}, maxHops-len(a.Chain))
		for _, link := range c.chain {
			if slices.Contains(a.Chain, link) {
				err = fmt.Errorf("CNAME loop at %s", link)
			}
		}
		if err != nil {
			a.Kind, a.Err = KindFailure, err
			return a
		}
		a.Chain = append(a.Chain, c.chain...)
		if c.ttl >= 0 && (a.TTL < 0 || c.ttl < a.TTL) {
			a.TTL = c.ttl
		}
		if c.more == "" {
			a.Kind, a.Records = c.kind, c.records
			return a
		}
		name = c.more
	}
}

// ask puts a question to the servers in order until one gives a final reply: NOERROR or NXDOMAIN. If none does, the last
// reply, if any, comes with the error.
func (r *resolver) ask(ctx context.Context, q question, budget *int) (last *dns.Msg, from string, err error) {
	timeout, attempts := r.conf.AttemptTimeout, r.conf.Attempts
	if r.system != nil {
		timeout, attempts = r.system.patience(timeout, attempts)
		if q.typ == TypeAAAA && r.system.noAAAA() {
			return new(dns.Msg), "resolv.conf", nil
		}
	}
	servers := r.servers()
	if len(servers) == 0 {
		return nil, "", errors.New("no servers: resolv.conf names none")
	}
	refused := make(map[server]bool) // they answered, with an rcode that another round will not change
	for range attempts {
		for _, s := range servers {
			if refused[s] {
				continue
			}
			if *budget == 0 {
				return last, from, fmt.Errorf("more than %d questions: %w", maxQueries, cmpErr(err))
			}
			*budget--
			attempt, cancel := context.WithTimeout(ctx, timeout)
			m, failed := r.exchange(attempt, s, q)
			cancel()
			if ctx.Err() != nil && failed != nil {
				return last, s.String(), fmt.Errorf("%s: no answer within the deadline of %v", s, r.conf.Deadline)
			}
			from = s.String()
			r.judge(s, failed)
			r.onQuery(r.conf.Name, from, result(m, failed))
			switch {
			case failed != nil:
				err = fmt.Errorf("%s: %s", s, reason(failed, timeout))
				if errors.Is(failed, errMalformed) {
					refused[s] = true
				}
			case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
				return m, from, nil
			default:
				last, err = m, fmt.Errorf("%s: %s", s, rcode(m.Rcode))
				refused[s] = true
			}
		}
	}
	return last, from, err
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("the CNAME chain does not end")
	}
	return err
}

// servers lists the servers in the order in which they are asked now. Those that fail go last.
func (r *resolver) servers() []server {
	var all []server
	for _, s := range r.conf.Servers {
		if s == "system" {
			list, rotate := r.system.servers()
			if rotate && len(list) > 1 {
				r.mu.Lock()
				r.rotate++
				at := r.rotate % len(list)
				r.mu.Unlock()
				list = append(slices.Clone(list[at:]), list[:at]...)
			}
			all = append(all, list...)
		} else if parsed, err := parseServer(s); err == nil { // Validate has seen it
			all = append(all, parsed)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var well []server
	for _, s := range all {
		if h := r.health[s.addr]; h == nil || !time.Now().Before(h.until) {
			well = append(well, s)
		}
	}
	if len(well) == 0 {
		return all
	}
	return well
}

// judge notes whether a server replied.
func (r *resolver) judge(s server, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.health[s.addr]
	if h == nil {
		h = new(serverHealth)
		r.health[s.addr] = h
	}
	if err == nil || errors.Is(err, errMalformed) {
		*h = serverHealth{}
		return
	}
	if h.failures++; h.failures >= failuresOut {
		h.failures = failuresOut - 1 // after the pause one more failure is enough
		h.until = time.Now().Add(serverPause)
	}
}

// result is the word for the outcome of one question.
func result(m *dns.Msg, err error) string {
	switch {
	case err == nil && m.Rcode == dns.RcodeSuccess:
		return "ok"
	case err == nil:
		return rcode(m.Rcode)
	case errors.Is(err, errMalformed):
		return "malformed"
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return "timeout"
	case unreachable(err):
		return "unreachable"
	}
	return "error"
}

func reason(err error, timeout time.Duration) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return fmt.Sprintf("no answer within %v", timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	}
	return err.Error()
}

func rcode(n int) string {
	if n == dns.RcodeNameError {
		return "nxdomain"
	}
	if s, ok := dns.RcodeToString[n]; ok {
		return strings.ToLower(s)
	}
	return fmt.Sprintf("rcode%d", n)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func unreachable(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}
