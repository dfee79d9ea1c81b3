package admin

import "time"

// Status is the document of /v1/status: a balancer at one moment. Its field names are a contract with scripts.
type Status struct {
	Version   string     `json:"version"`
	Engine    string     `json:"engine"`
	Loops     int        `json:"loops"`
	PID       int        `json:"pid"`
	Uptime    float64    `json:"uptime"` // seconds
	Ready     bool       `json:"ready"`
	Stopping  bool       `json:"stopping"`
	Reasons   []string   `json:"reasons"` // why not ready; empty when ready
	Pools     []Pool     `json:"pools"`
	Listeners []Listener `json:"listeners"`
	DNS       []Name     `json:"dns"`

	LogDropped uint64 `json:"log_dropped"` // lines that the log's target did not take, or not in time
}

// Pool is one pool with its epochs and peers.
type Pool struct {
	Name            string     `json:"name"`
	Balance         string     `json:"balance"`
	Epoch           uint64     `json:"epoch"`      // the current one
	Selectable      int        `json:"selectable"` // peers that may be picked
	Tier            int        `json:"tier"`       // that serves, if a peer may be picked
	EpochsPublished uint64     `json:"epochs_published"`
	EpochsReclaimed uint64     `json:"epochs_reclaimed"`
	Epochs          []Epoch    `json:"epochs"`            // in use, oldest first
	Peers           []Peer     `json:"peers"`             // alive, by address
	Overrides       []Override `json:"overrides"`         // what operators have said of addresses, those without a peer included
	Leaving         bool       `json:"leaving,omitempty"` // a reload took its name, or gave it to another; sessions hold it
	Held            bool       `json:"held"`              // by an operator: new clients wait
	Waiting         int64      `json:"waiting"`           // clients that wait for a peer
}

// Override is what an operator has said of an address. It holds until it is taken back.
type Override struct {
	Addr   string `json:"addr"`
	Admin  string `json:"admin"` // ready, drain, maint
	Weight *int   `json:"weight,omitempty"`
}

// Epoch is a snapshot of a pool's peers that is current or still held.
type Epoch struct {
	ID       uint64    `json:"id"`
	Cause    string    `json:"cause"` // config, dns, health, admin, state
	Born     time.Time `json:"born"`
	Sessions int64     `json:"sessions"` // leases held on it
	Retired  bool      `json:"retired"`
}

// Peer is one address that takes sessions, or still has some.
type Peer struct {
	Addr         string     `json:"addr"`
	Weight       int        `json:"weight"`
	Tier         int        `json:"tier"`
	State        string     `json:"state"`                  // up, down, unwanted, unknown, ejected, drain, maint, standby: a lower tier serves; draining: not listed
	Health       string     `json:"health"`                 // what its check says: up, down, unknown
	Role         string     `json:"role"`                   // what its check says: primary, replica; empty: it tells none
	Timeline     uint64     `json:"timeline,omitempty"`     // of a primary, if it has one
	Lag          *float64   `json:"lag,omitempty"`          // seconds, of a replica that says it
	Reason       string     `json:"reason"`                 // for health, role and unwanted, in one word (docs/health.md), of the last check while it is down; empty: no check
	Detail       string     `json:"detail,omitempty"`       // in a sentence
	Since        *time.Time `json:"since,omitempty"`        // the role or the reason changed
	Admin        string     `json:"admin"`                  // what an operator says: ready, drain, maint
	AdminWeight  *int       `json:"admin_weight,omitempty"` // that weight is, if an operator has set it
	Percent      int        `json:"percent,omitempty"`      // of its weight, that its agent asks for
	Active       int64      `json:"active"`
	Total        uint64     `json:"total"`
	Latency      *float64   `json:"latency,omitempty"` // seconds that its last probe took, if it has a check
	Sources      []string   `json:"sources"`           // the backends that name it; none while it drains
	EjectedUntil *time.Time `json:"ejected_until,omitempty"`
	Failures     int        `json:"failures,omitempty"` // connects of sessions that failed in a row, since it was ejected last

	Standing string             `json:"standing"` // at a pick: good, crowded, unproven, ejected, full, connecting, paced, tried, standby, weightless, down, unwanted, drain, maint, unlisted
	Why      string             `json:"why"`      // the same as a sentence
	Figures  map[string]float64 `json:"figures,omitempty"`
}

// Listener is one bound address.
type Listener struct {
	Name     string `json:"name"`
	Address  string `json:"address"`  // with the port that was bound
	Protocol string `json:"protocol"` // tcp, udp
	Pool     string `json:"pool"`
	Active   int64  `json:"active"`
	Total    uint64 `json:"total"`             // accepted, those refused by a limit included
	In       int64  `json:"in"`                // bytes of clients so far, those of sessions that live included
	Out      int64  `json:"out"`               // bytes to clients
	Leaving  bool   `json:"leaving,omitempty"` // it takes no clients any more; sessions hold it

	Datagrams *Datagrams `json:"datagrams,omitempty"` // of a UDP listener
}

// Datagrams is what a UDP listener has seen. A direction is in, from clients, or out, from peers.
type Datagrams struct {
	Received  map[string]uint64            `json:"received"`  // by direction
	Batches   map[string]map[string]uint64 `json:"batches"`   // system calls that brought them, by direction and by how many at most: 1, 2, 4, 8, 16, 32, 64, +Inf
	Joined    map[string]uint64            `json:"joined"`    // sent in one message with others, by direction
	Coalesced map[string]uint64            `json:"coalesced"` // came in one message with others, by direction
	Reused    uint64                       `json:"reused"`    // flows that have the socket of one that is over
	Dropped   map[string]uint64            `json:"dropped"`   // by reason (docs/udp.md)
}

// Name is what DNS says about one name and type.
type Name struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Resolver string   `json:"resolver"`
	Server   string   `json:"server"` // who gave the last answer
	Kind     string   `json:"kind"`   // of the last answer: ok, nodata, nxdomain, failure
	Rcode    string   `json:"rcode"`  // of the last answer, as NOERROR; empty if nobody was asked or nobody answered
	TTL      float64  `json:"ttl"`    // seconds, as the server said
	Age      float64  `json:"age"`    // seconds since the last answer that was not a failure
	Stale    bool     `json:"stale"`  // the records are older than the last answer, which was a failure
	Next     float64  `json:"next"`   // seconds until the next question; 0 while one is under way
	Failures int      `json:"failures"`
	Error    string   `json:"error,omitempty"`
	Chain    []string `json:"chain,omitempty"` // where CNAMEs led
	Records  []string `json:"records"`         // of the last answer that was not a failure; of SRV: priority weight port target
	Peers    []Feed   `json:"peers"`           // what comes of it now
}

// Feed is a peer that a name stands for in a pool.
type Feed struct {
	Pool string `json:"pool"`
	Addr string `json:"addr"`
}

// Pool gives a pool by its name.
func (s *Status) Pool(name string) (Pool, bool) {
	for _, p := range s.Pools {
		if p.Name == name {
			return p, true
		}
	}
	return Pool{}, false
}
