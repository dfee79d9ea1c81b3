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

// Record is one address and how long it holds.
type Record struct {
	Addr netip.Addr // IPv4 is never in its IPv6-mapped form
	TTL  time.Duration
}

// Answer is the outcome of one resolution. It is immutable and may be kept.
type Answer struct {
	Name     string // as subscribed, lower case, without the last dot
	Type     Type
	Resolver string
	Kind     Kind
	Records  []Record      // sorted by address, each address once; only with KindOK
	TTL      time.Duration // smallest of the chain, as the server said; for nodata and nxdomain how long that holds
	Chain    []string      // the names that CNAMEs led to
	Server   string        // who answered
	Rcode    int
	Local    bool   // from a literal, the hosts file or localhost: nobody was asked
	Err      error  // why it failed; only with KindFailure
	Serial   uint64 // counts the changes of kind or addresses
	Streak   int    // answers of this kind in a row
	At       time.Time
}

// ResolverConfig describes a resolver: servers, asked in order.
type ResolverConfig struct {
	Name           string
	Servers        []string      // "udp://ADDRESS[:PORT]", or "system": what resolv.conf says
	AttemptTimeout time.Duration // one question to one server; default 2s
	Attempts       int           // rounds over the servers; default 2
	Deadline       time.Duration // one whole resolution; default 10s
	EDNSSize       int           // UDP payload offered; default 1232
	HostsFile      string        // "" is none
	ResolvConf     string        // default /etc/resolv.conf
}

func (c ResolverConfig) withDefaults() ResolverConfig {
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

// Validate says what is wrong with a resolver.
func (c ResolverConfig) Validate() error {
	if len(c.Servers) == 0 {
		return fmt.Errorf("resolver %q has no servers", c.Name)
	}
	for _, s := range c.Servers {
		if s == "system" {
			continue
		}
		if _, err := parseServer(s); err != nil {
			return fmt.Errorf("resolver %q: %w", c.Name, err)
		}
	}
	return nil
}

// Options are what a Watcher is made from. The hooks are called from many goroutines and must not block.
type Options struct {
	Resolvers []ResolverConfig
	// OnQuery is told the result of every question put to a server: an rcode in lower case, or "truncated", "timeout",
	// "unreachable", "malformed", "error".
	OnQuery func(resolver, server, result string)
	// OnDiscard is told why a datagram was not taken for the reply: "id", "question", "not_response", "malformed".
	OnDiscard func(reason string)
}

// Watch is a wish to be told of a name.
type Watch struct {
	Resolver, Name         string
	Type                   Type
	Refresh                time.Duration // fixed interval; 0 follows the TTL
	MinRefresh, MaxRefresh time.Duration // bounds of the interval by TTL; defaults 1s and 5m
	Notify                 func(Answer)  // must not block, and must not close its own subscription
}

// ErrClosed is given by a Watcher that is closed.
var ErrClosed = errors.New("the watcher is closed")
