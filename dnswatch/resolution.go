package dnswatch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	maxQueries   = 16              // questions in one resolution, over all servers, names and repetitions
	localHolds   = 5 * time.Second // as often as files are looked at
	literalHolds = 24 * time.Hour
)

// ServerLiteral stands for a server where the name is an address.
const ServerLiteral = "literal"

// resolution is one attempt to answer one name. Watchers and Explain run the same one.
type resolution struct {
	*resolver
	left  atomic.Int32 // questions that may still be asked
	trace *Trace       // nil unless somebody wants to see
}

// resolve answers a name.
func (r *resolver) resolve(ctx context.Context, name string, typ Type, trace *Trace) Answer {
	x := &resolution{resolver: r, trace: trace}
	x.left.Store(maxQueries)
	return x.answer(ctx, name, typ)
}

// answer never returns records with an error.
func (x *resolution) answer(ctx context.Context, name string, typ Type) Answer {
	a := Answer{Name: strings.TrimSuffix(name, "."), Type: typ, Resolver: x.conf.Name}
	if typ != TypeSRV {
		if addr, ok := literal(name); ok {
			return x.local(a, literalHolds, ServerLiteral, []netip.Addr{addr})
		}
	}
	if isLocalhost(name) {
		return x.local(a, literalHolds, "localhost", []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})})
	}
	if typ != TypeSRV {
		if addrs, ok := x.hosts.find(a.Name); ok {
			return x.local(a, localHolds, "hosts", addrs)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, x.conf.Deadline)
	defer cancel()
	var empty Answer
	for i, full := range x.system.candidates(name) {
		found := x.follow(ctx, a, full)
		if found.Kind == KindOK || found.Kind == KindFailure { // past a failure, another suffix could match what is not meant
			return found
		}
		ttl := found.TTL
		if i > 0 {
			ttl = min(ttl, empty.TTL)
		}
		if i == 0 || found.Kind == KindNoData && empty.Kind == KindNXDomain {
			empty = found
		}
		empty.TTL = ttl
	}
	return empty
}

// local is an answer for which nobody is asked.
func (x *resolution) local(a Answer, ttl time.Duration, server string, addrs []netip.Addr) Answer {
	a.Local, a.TTL, a.Server, a.Kind = true, ttl, server, KindNoData
	for _, addr := range addrs {
		if addr.Is4() && a.Type == TypeA || addr.Is6() && a.Type == TypeAAAA {
			a.Kind = KindOK
			a.Records = append(a.Records, Record{Addr: addr, TTL: ttl})
		}
	}
	a.Records = tidy(a.Records)
	return a
}

// follow asks for an absolute name and, where a reply ends at a CNAME, for its target.
func (x *resolution) follow(ctx context.Context, a Answer, name string) Answer {
	a.TTL = -1
	for {
		q := question{name, a.Type}
		o := x.ask(ctx, q)
		a.Server, a.Err = o.from, o.err
		if o.m != nil {
			a.Rcode = o.m.Rcode
		}
		var c collected
		if a.Err == nil {
			c, a.Err = collect(o.m, q, maxHops-len(a.Chain))
			for _, link := range c.chain {
				if slices.Contains(a.Chain, link) {
					a.Err = fmt.Errorf("CNAME loop at %s", link)
				}
			}
			a.Chain = append(a.Chain, c.chain...)
			if isLocalhost(c.more) {
				a.Err = fmt.Errorf("a CNAME leads to %s, which is never asked for", c.more)
			}
		}
		if a.Err != nil {
			a.Kind, a.TTL = KindFailure, 0
			return a
		}
		if c.ttl >= 0 && (a.TTL < 0 || c.ttl < a.TTL) {
			a.TTL = c.ttl
		}
		if c.more == "" {
			a.Kind, a.Records, a.Hints, a.Omitted = c.kind, c.records, c.hints, c.omitted
			return a
		}
		name = c.more
	}
}

// outcome is what became of a question. With an error, m is the last reply if there was any.
type outcome struct {
	m     *dns.Msg
	from  string
	err   error
	final bool // another server is not asked
	spent bool // the same server would say the same
}

// ask puts a question to the servers, one after the other or all at once, until one gives a final reply: NOERROR or
// NXDOMAIN.
func (x *resolution) ask(ctx context.Context, q question) outcome {
	timeout, attempts := x.conf.AttemptTimeout, x.conf.Attempts
	if x.system != nil {
		timeout, attempts = x.system.patience(timeout, attempts)
		if q.typ == TypeAAAA && x.system.settings().noAAAA {
			return outcome{m: new(dns.Msg), from: "resolv.conf", final: true}
		}
	}
	servers := x.servers()
	last := outcome{err: errors.New("no servers: resolv.conf names none")}
	for range attempts {
		if x.conf.Strategy == StrategyRace && len(servers) > 1 {
			o, left := x.race(ctx, servers, q, timeout)
			if o.final {
				return o
			}
			last, servers = last.or(o), left
			continue
		}
		var left []server
		for _, s := range servers {
			o := x.try(ctx, s, q, timeout)
			if o.final {
				return o
			}
			if last = last.or(o); !o.spent {
				left = append(left, s)
			}
		}
		servers = left
	}
	return last
}

// or is the outcome to report when neither is final: the later, but a reply rather than none.
func (o outcome) or(next outcome) outcome {
	if next.m == nil {
		next.m = o.m
	}
	return next
}

// race asks all servers at the same moment. The first final reply wins. left are those worth another round.
func (x *resolution) race(ctx context.Context, servers []server, q question, timeout time.Duration) (o outcome, left []server) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make([]outcome, len(servers))
	done := make(chan int, len(servers))
	for i, s := range servers {
		go func() {
			outcomes[i] = x.try(ctx, s, q, timeout)
			done <- i
		}()
	}
	for range servers { // the losers end at once
		i := <-done
		if o.final {
			continue
		}
		if o = o.or(outcomes[i]); o.final {
			cancel()
		} else if !outcomes[i].spent {
			left = append(left, servers[i])
		}
	}
	return o, left
}

// try asks one server: again without EDNS if that is what it does not understand, again by TCP if the reply is truncated
// or doubtful.
func (x *resolution) try(ctx context.Context, s server, q question, timeout time.Duration) outcome {
	o := outcome{from: s.String()}
	asked := query{question: q, edns: x.conf.EDNSSize}
	plain, stream := x.health.habits(s)
	if plain {
		asked.edns = 0
	}
	via, why := s, ""
	if stream {
		via = s.overTCP()
	}
	for {
		asked.asked = ""
		if x.conf.CaseRandomization && via.scheme == schemeUDP {
			asked.asked = mixCase(q.name)
		}
		m, err := x.send(ctx, via, asked, timeout)
		switch {
		case err == nil && asked.edns > 0 && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeBadVers):
			asked.edns = 0 // RFC 6891 section 7
			continue
		case via.scheme == schemeUDP && (err == nil && m.Truncated || errors.Is(err, errDoubtful)):
			if errors.Is(err, errCase) && x.health.losesCase(s) {
				x.opts.OnWarning(x.conf.Name, s.String(), "does not keep the case of names: it is asked by TCP")
			}
			via, why = s.overTCP(), "truncated over UDP"
			if err != nil {
				why = err.Error()
			}
			continue
		case err == nil && m.Truncated:
			err = fmt.Errorf("%w: truncated over %s", errMalformed, via.scheme)
		}
		if !errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, errSpent) {
			x.health.judge(s, err == nil || errors.Is(err, errMalformed))
		}
		switch {
		case err != nil:
			o.err = fmt.Errorf("%s: %w", via, explained{err, timeout})
			if why != "" {
				o.err = fmt.Errorf("%w (%s)", o.err, why)
			}
			o.final = ctx.Err() != nil || errors.Is(err, errSpent)
			o.spent = errors.Is(err, errMalformed) || errors.Is(err, errHTTP) || isCertificate(err)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				o.err = fmt.Errorf("%s: no answer within the deadline of %v", via, x.conf.Deadline)
			}
		case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
			if asked.edns == 0 && !plain && x.conf.EDNSSize > 0 {
				x.health.isPlain(s)
			}
			o.m, o.final = m, true
		default:
			o.m, o.spent, o.err = m, true, fmt.Errorf("%s: %s", via, rcode(m.Rcode))
		}
		return o
	}
}

var errSpent = fmt.Errorf("more than %d questions", maxQueries)

// send asks once, and counts.
func (x *resolution) send(ctx context.Context, via server, q query, timeout time.Duration) (*dns.Msg, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if x.left.Add(-1) < 0 {
		return nil, errSpent
	}
	begin := time.Now()
	attempt, cancel := context.WithTimeout(ctx, timeout)
	m, err := x.exchange(attempt, via, q)
	cancel()
	if errors.Is(ctx.Err(), context.Canceled) { // lost a race, or closing
		return nil, ctx.Err()
	}
	word := result(m, err)
	x.opts.OnQuery(x.conf.Name, via.String(), word)
	if x.trace != nil {
		x.trace.add(begin, via, q, word, m, err)
	}
	return m, err
}

// result is the word for the outcome of one question.
func result(m *dns.Msg, err error) string {
	switch {
	case err == nil && m.Truncated:
		return "truncated"
	case err == nil && m.Rcode == dns.RcodeSuccess:
		return "ok"
	case err == nil:
		return rcode(m.Rcode)
	case errors.Is(err, errCase):
		return "case"
	case errors.Is(err, errMalformed):
		return "malformed"
	case errors.Is(err, errDoubtful):
		return "mismatches"
	case errors.Is(err, errHTTP):
		return "http"
	case isCertificate(err):
		return "certificate"
	case isTimeout(err):
		return "timeout"
	case unreachable(err):
		return "unreachable"
	}
	return "error"
}

// explained is an error of the network in the words of an operator.
type explained struct {
	error
	timeout time.Duration
}

func (e explained) Unwrap() error { return e.error }

func (e explained) Error() string {
	switch {
	case isTimeout(e.error):
		return fmt.Sprintf("no answer within %v", e.timeout)
	case errors.Is(e.error, syscall.ECONNREFUSED):
		return "connection refused"
	}
	return e.error.Error()
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

// isTimeout looks at connections that were lost, too: the error says which.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout() && !errors.Is(err, errLost)
}

func isCertificate(err error) bool {
	var refused *tls.CertificateVerificationError
	var host x509.HostnameError
	return errors.As(err, &refused) || errors.As(err, &host)
}

func unreachable(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}
