package config

import (
	"net/netip"
	"time"
)

// Config is everything a run needs: validated, with every default filled in. It is plain data; a zero duration stands
// for "off" where a key allows that word.
type Config struct {
	Admin           Admin
	Log             Log
	Relay           Relay
	ShutdownDelay   time.Duration // between "not ready" and the end of accepting
	ShutdownTimeout time.Duration // for sessions to end by themselves
	StateFile       string        // keeps what operators say over restarts; "" is none
	Resolvers       []Resolver    // sorted by name
	Listeners       []Listener    // in the order of the file
	Pools           []Pool        // sorted by name

	places *places // where it was written, for Problem
}

// Log says what is logged, and how.
type Log struct {
	Level    string        // debug, info, warn, error
	Format   string        // auto, text, json; auto is text on a terminal and JSON otherwise
	Target   string        // stderr, syslog, journald, or the path of a file
	Access   string        // close, all, off
	Progress time.Duration // between lines of one session, with access = "all"; 0 is none
}

// Relay says how bytes move.
type Relay struct {
	Engine string // auto, uring, epoll, portable
	Loops  int    // 0 is as many as there are cores
}

// Resolver is a group of DNS servers.
type Resolver struct {
	Name              string
	Servers           []string
	Strategy          string
	AttemptTimeout    time.Duration
	Attempts          int
	Deadline          time.Duration
	EDNSSize          int
	CaseRandomization bool
	CAFile            string // besides the CAs of the system; "" is none
	HostsFile         string // "" is none
}

// Listener is what clients connect to.
type Listener struct {
	Name             string
	Listen           []Endpoint
	Pool             string
	MaxConns         int           // 0 is no limit
	IdleTimeout      time.Duration // of TCP sessions
	UDPIdleTimeout   time.Duration `key:"idle_timeout"` // of UDP flows; never 0, for they have no other end
	HalfCloseTimeout time.Duration
	MaxAge           time.Duration  // of TCP sessions
	ProxyIn          []netip.Prefix // who begins with a PROXY header; none is nobody
	PrereadTimeout   time.Duration  // for that, and for a ClientHello
	Datapath         string
	Allow, Deny      []netip.Prefix // sorted, none in both; with Allow, nobody else may come in
	AcceptRate       int            // new sessions per second; 0 is no limit
	SourceMaxConns   int            // for each source; 0 is no limit
	SourceRate       int            // new sessions in a second, for each source; 0 is no limit
	SourcePrefixIPv4 int            `key:"source_prefix_ipv4"` // bits of an address that are its source
	SourcePrefixIPv6 int            `key:"source_prefix_ipv6"`

	Mode              string // of UDP flows: session, reqresp, oneway
	Responses         int    // to one request; 0 is no limit
	Requests          int    // that a flow takes; 0 is no limit
	MaxFlowsPerSource int    // 0 is no limit
	QUICIDLength      int    `key:"quic_id_length"`     // of connection ids that lead to their server; 0 is off
	QUICServerLength  int    `key:"quic_server_length"` // of those, behind the first byte: what names the server; 0 is none

	PassECN  bool // of UDP datagrams, both ways
	PassDSCP bool

	Socket ClientSocket
}

// Endpoint is an address to listen on, or a socket that is bound already.
type Endpoint struct {
	Network string // tcp, udp, unix
	Addr    netip.AddrPort
	Path    string // absolute, of a unix socket
	Passed  string // the name of a socket that the service manager passes on; "" is none
}

// UnixPrefix stands before the path of a unix socket.
const UnixPrefix = "unix:"

// PassedPrefix stands before the name of a socket that the service manager passes on.
const PassedPrefix = "systemd:"

func (e Endpoint) String() string {
	if e.Passed != "" {
		return e.Network + "://" + PassedPrefix + e.Passed
	}
	if e.Network == "unix" {
		return UnixPrefix + e.Path
	}
	return e.Network + "://" + e.Addr.String()
}

// Pool is what a listener sends to.
type Pool struct {
	Name             string
	Balance          string
	HashKey          string  // source, source_port, destination, sni, proxy_source; without another use than balance = "hash"
	HashPrefixIPv4   int     `key:"hash_prefix_ipv4"` // how many bits of source count
	HashPrefixIPv6   int     `key:"hash_prefix_ipv6"`
	Bounded          float64 // with hash: the most of its share that a peer may have; 0 is no bound
	Resolver         string
	ConnectTimeout   time.Duration
	ConnectAttempts  int
	ConnectDeadline  time.Duration // for all attempts, and what a client waits for them
	FirstByteTimeout time.Duration // for a peer that is connected
	ProxyOut         string        // off, v1, v2: the PROXY protocol
	MaxConns         int           // per peer; 0 is no limit
	PoolMaxConns     int           // of all peers; 0 is no limit
	MaxConnecting    int           // sessions that connect to a peer at a time; 0 is no limit
	ConnectRate      int           // sessions that begin on a peer per second; 0 is no limit
	Queue            int           // clients that may wait while every peer is at a limit; 0 is none
	QueueTimeout     time.Duration
	WhenNone         string // refuse, hold
	HoldTimeout      time.Duration
	HoldMax          int    // clients that may wait for a peer to be there
	RefuseWith       string // reset, fin, postgres, mysql, redis
	DrainTimeout     time.Duration
	MinUp            int           // peers that a tier needs to serve
	Failback         time.Duration // how long a lower tier must be fit before it serves again; 0 is at once, or NeverFailback
	SlowStart        time.Duration // 0 is none
	QuietTime        time.Duration
	CloseRate        int // sessions closed per second, where it is not urgent; 0 is all at once
	Socket           PeerSocket
	On               On
	Backends         []Backend `key:"backend"`
	Check            *Check    // nil is none
}

// NeverFailback leaves service with the tier that has it, as long as that is fit.
const NeverFailback time.Duration = -1

// On is the session policy: what happens to sessions, by cause.
type On struct {
	Dead       string // each: keep, drain, quiet, close
	RoleLost   string
	Degraded   string
	Removed    string
	AdminDrain string
	AdminMaint string
	Failback   string
}

// Backend is a literal address or a DNS name.
type Backend struct {
	Host         string
	Port         int
	Type         string
	Weight       int
	Tier         int
	Family       string
	Refresh      time.Duration // 0 follows the TTL
	MinRefresh   time.Duration
	MaxRefresh   time.Duration
	OnEmpty      string
	EmptyHold    time.Duration
	OnError      string
	MaxStale     time.Duration
	AbsentHold   time.Duration
	AllowAnswers []string
}
