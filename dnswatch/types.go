package dnswatch

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Type is a type of record, with its number on the wire.
type Type uint16

// The types that can be watched.
const (
	TypeA    = Type(dns.TypeA)
	TypeAAAA = Type(dns.TypeAAAA)
	TypeSRV  = Type(dns.TypeSRV)
)

func (t Type) String() string { return dns.TypeToString[uint16(t)] }

// Kind says what an answer is.
type Kind uint8

// The kinds of answer.
const (
	KindOK       Kind = iota // records
	KindNoData               // the name exists, without records of this type
	KindNXDomain             // the name does not exist
	KindFailure              // nobody could tell
)

func (k Kind) String() string {
	switch k {
	case KindOK:
		return "ok"
	case KindNoData:
		return "nodata"
	case KindNXDomain:
		return "nxdomain"
	}
	return "failure"
}

// Record is one address, or one service of an SRV record (RFC 2782), and how long it holds.
type Record struct {
	Addr netip.Addr // of A and AAAA, and of hints; IPv4 is never in its IPv6-mapped form
	TTL  time.Duration

	// Of SRV. Target is in lower case with its last dot: to subscribe to it like that keeps search lists and literals out.
	// It is never under localhost. Port is not 0.
	Target                 string
	Port, Priority, Weight uint16
}

// String writes the data as a zone file does.
func (r Record) String() string {
	if r.Port != 0 {
		return fmt.Sprintf("%d %d %d %s", r.Priority, r.Weight, r.Port, r.Target)
	}
	return r.Addr.String()
}

// Answer is the outcome of one resolution. It is immutable and may be kept.
type Answer struct {
	Name       string // as subscribed, lower case, without the last dot
	Type       Type
	Resolver   string
	Kind       Kind
	Records    []Record      // sorted by priority, target, port, address, each once; at most 1024; only with KindOK
	Omitted    int           // records beyond those 1024
	Hints      []Record      // addresses of SRV targets that came along: Target, Addr and TTL; good until the target's own answer
	TTL        time.Duration // smallest of the chain, as the server said; for nodata and nxdomain how long that holds
	Chain      []string      // the names that CNAMEs led to
	Server     string        // who answered, or ServerLiteral
	Rcode      int
	Local      bool   // from a literal, the hosts file or localhost: nobody was asked
	Err        error  // why it failed; only with KindFailure
	Unanswered bool   // the watcher has never had another answer than failure
	Serial     uint64 // counts the changes of kind or records
	Streak     int    // answers of this kind in a row
	At         time.Time
}

// The strategies of a resolver with several servers. NOERROR and NXDOMAIN are final; after anything else the next server
// is asked.
const (
	StrategyFailover = "failover" // in order
	StrategyRotate   = "rotate"   // in order, beginning with another one each time
	StrategyRace     = "race"     // all at once; the first final reply wins
)

// systemServer stands for the servers of resolv.conf. With it, its search list and options apply.
const systemServer = "system"

// ResolverConfig describes a resolver: servers and how they are asked. With "system" among the servers, resolv.conf's
// timeout and attempts come before AttemptTimeout and Attempts.
type ResolverConfig struct {
	Name              string
	ID                string        // what Watch.Resolver says, so that two may have one name while one takes over from the other; default Name
	Servers           []string      // "udp://IP[:PORT]", "tcp://...", "tls://IP[:PORT][#NAME]", "https://IP[:PORT]/PATH[#NAME]", "system"
	Strategy          string        // default failover
	AttemptTimeout    time.Duration // one question to one server; default 2s
	Attempts          int           // rounds over the servers; default 2
	Deadline          time.Duration // one whole resolution; default 10s
	EDNSSize          int           // UDP payload offered; default 1232, negative is no EDNS
	CaseRandomization bool          // letters of names in random case over UDP, for forgers to guess
	CAFile            string        // CAs for tls and https in PEM form, in addition to the system's
	HostsFile         string        // "" is none
	ResolvConf        string        // default /etc/resolv.conf
}

func (c ResolverConfig) withDefaults() ResolverConfig {
	if c.ID == "" {
		c.ID = c.Name
	}
	if c.Strategy == "" {
		c.Strategy = StrategyFailover
	}
	if c.AttemptTimeout == 0 {
		c.AttemptTimeout = 2 * time.Second
	}
	if c.Attempts == 0 {
		c.Attempts = 2
	}
	if c.Deadline == 0 {
		c.Deadline = 10 * time.Second
	}
	if c.EDNSSize == 0 {
		c.EDNSSize = 1232
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	return c
}

// Validate says what is wrong with a resolver, all at once. It reads no file.
func (c ResolverConfig) Validate() error {
	var errs []error
	report := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("resolver %q: "+format, append([]any{c.Name}, args...)...))
	}
	if len(c.Servers) == 0 {
		report("no servers")
	}
	seen := make(map[server]bool)
	for _, text := range c.Servers {
		var s server
		if text != systemServer {
			var err error
			if s, err = parseServer(text); err != nil {
				report("%w", err)
				continue
			}
		}
		if seen[s] {
			report("server %q is named twice", text)
		}
		seen[s] = true
	}
	switch c.Strategy {
	case "", StrategyFailover, StrategyRotate, StrategyRace:
	default:
		report("strategy %q, expected failover, rotate or race", c.Strategy)
	}
	if c.AttemptTimeout < 0 || c.Attempts < 0 || c.Deadline < 0 {
		report("a negative timeout or number of attempts")
	}
	if c.EDNSSize > 0 && (c.EDNSSize < dns.MinMsgSize || c.EDNSSize > 65535) {
		report("EDNS size %d, expected 512 to 65535", c.EDNSSize)
	}
	return errors.Join(errs...)
}

// Options are what a Watcher is made from. The hooks are called from many goroutines and must not block.
type Options struct {
	Resolvers []ResolverConfig
	// OnQuery is told the result of every question put to a server: an rcode in lower case ("ok" and "nxdomain" for the
	// final ones), or "truncated", "timeout", "unreachable", "malformed", "mismatches", "case", "certificate", "http", "error".
	OnQuery func(resolver, server, result string)
	// OnDiscard is told why a message was not taken for the reply: "id", "question", "not_response", "malformed".
	OnDiscard func(reason string)
	// OnWarning is told, once, of a habit of a server that costs something.
	OnWarning func(resolver, server, text string)
}

func (o Options) withDefaults() Options {
	if o.OnQuery == nil {
		o.OnQuery = func(string, string, string) {}
	}
	if o.OnDiscard == nil {
		o.OnDiscard = func(string) {}
	}
	if o.OnWarning == nil {
		o.OnWarning = func(string, string, string) {}
	}
	return o
}

// Watch is a wish to be told of a name.
type Watch struct {
	Resolver, Name         string
	Type                   Type
	Refresh                time.Duration // fixed interval; 0 follows the TTL
	MinRefresh, MaxRefresh time.Duration // bounds of the interval by TTL; defaults 1s and 5m
	// Notify must not block, and must not close its own subscription. It may subscribe, and close others, though not with
	// a lock held that their Notify takes.
	Notify func(Answer)
}

// ErrClosed is given by a Watcher that is closed.
var ErrClosed = errors.New("the watcher is closed")
