package admin

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
)

// Metric is one metric that is sampled at a scrape. Its name and labels are a contract with dashboards.
type Metric struct {
	index  int // in sampled
	name   string
	help   string
	kind   dto.MetricType
	max    bool      // of several values for the same labels the largest counts, not their sum
	bounds []float64 // of the buckets of a histogram
	labels []string
	order  []int // of the labels, by their names
}

var sampled []*Metric

func define(kind dto.MetricType, name, help string, labels ...string) *Metric {
	m := &Metric{index: len(sampled), name: name, help: help, kind: kind, labels: labels, order: byName(labels)}
	sampled = append(sampled, m)
	return m
}

func counter(name, help string, labels ...string) *Metric {
	return define(dto.MetricType_COUNTER, name, help, labels...)
}

func gauge(name, help string, labels ...string) *Metric {
	return define(dto.MetricType_GAUGE, name, help, labels...)
}

func worst(name, help string, labels ...string) *Metric {
	m := gauge(name, help, labels...)
	m.max = true
	return m
}

// The sampled metrics. Labels are in the order in which a sample gives them.
var (
	SessionsActive = gauge("ebb_sessions_active", "Sessions that live.", "listener", "pool")
	SessionsTotal  = counter("ebb_sessions_total", "Sessions that ended, by why; those refused by a limit included.", "listener", "pool", "end")
	BytesTotal     = counter("ebb_bytes_total", "Payload bytes; in is from clients to peers. It moves while sessions live.", "listener", "pool", "direction")
	AcceptErrors   = counter("ebb_accept_errors_total", "Failed accepts, each followed by a pause.", "listener", "reason")
	Rejected       = counter("ebb_rejected_total", "Sessions refused, by which limit.", "listener", "reason")
	UDPDatagrams   = counter("ebb_udp_datagrams_total", "Datagrams that were received: in from clients, out from peers.", "listener", "direction")
	UDPBatch       = histogram("ebb_udp_batch_datagrams", "Datagrams that came with one system call.", UDPBatchBounds[:], "listener", "direction")
	UDPCoalesced   = counter("ebb_udp_coalesced_total", "Datagrams that came in one message with one before them.", "listener", "direction")
	UDPJoined      = counter("ebb_udp_joined_total", "Datagrams that were sent in one message with others, which the kernel cuts up.", "listener", "direction")
	UDPReused      = counter("ebb_udp_sockets_reused_total", "Flows that have the socket of one that is over.", "listener")
	UDPDropped     = counter("ebb_udp_dropped_total", "Datagrams that were not passed on.", "listener", "reason")

	RelayPaused  = counter("ebb_relay_paused_total", "Times that a stream was left alone, because the other side had not taken what was there. Those that are now: this minus ebb_relay_resumed_total.")
	RelayResumed = counter("ebb_relay_resumed_total", "Of these, those that are over: what was there was taken, or the session has ended.")
	RelayStarved = counter("ebb_relay_starved_total", "Receives that had to wait for a buffer: 128 MiB for each loop, of which one stream has 256 KiB at most, and 16 KiB when half of them are taken.")
	RelaySpliced = counter("ebb_relay_spliced_bytes_total", "Payload bytes that were moved without being copied.")

	PeerSessionsActive = gauge("ebb_peer_sessions_active", "Sessions and connect attempts that a peer has now.", "pool", "peer")
	PeerSessionsTotal  = counter("ebb_peer_sessions_total", "Sessions and connect attempts that ended on a peer, by why.", "pool", "peer", "end")
	PeerUp             = gauge("ebb_peer_up", "1 if the peer is fit for new sessions: listed, not down, not ejected, its check passed; it may be standing by.", "pool", "peer")
	PeerRole           = gauge("ebb_peer_role", "1 for the role that the peer's check tells; no series while it tells none.", "pool", "peer", "role")
	PeerLag            = gauge("ebb_peer_lag_seconds", "How far a replica is behind; no series while it does not say.", "pool", "peer")
	PeerUnwanted       = gauge("ebb_peer_unwanted", "1 while the peer is alive and takes no new sessions, for what its check tells: role, rival, stale, lag, drain.", "pool", "peer", "reason")
	CheckSeconds       = gauge("ebb_check_seconds", "How long the last probe of a peer took.", "pool", "peer", "kind")

	PoolSelectable = gauge("ebb_pool_selectable", "Peers that may be picked: with weight, not down, of the tier that serves.", "pool")
	PoolTier       = gauge("ebb_pool_tier", "The tier that serves; no series while none does.", "pool")

	PoolPrimaries = gauge("ebb_pool_primaries", "Peers that say that they are primary, in pools that use one.", "pool")

	PoolWaiting = gauge("ebb_pool_waiting", "Clients that wait for a peer.", "pool")

	EpochCurrent    = gauge("ebb_epoch", "The id of the current epoch.", "pool")
	EpochsLive      = gauge("ebb_epochs_live", "Epochs in use: the current one and the retired ones that sessions hold.", "pool")
	EpochOldest     = gauge("ebb_epoch_oldest_seconds", "Age of the oldest retired epoch that is still held; 0 if there is none.", "pool")
	EpochsReclaimed = counter("ebb_epochs_reclaimed_total", "Epochs freed.", "pool")

	DNSQueries   = counter("ebb_dns_queries_total", "Questions put to DNS servers, by what came of them.", "resolver", "server", "result")
	DNSAnswerAge = worst("ebb_dns_answer_age_seconds", "Time since the last answer that was not a failure.", "name", "type")
	DNSStale     = worst("ebb_dns_stale", "1 if the last answer was a failure and older addresses serve.", "name", "type")
	DNSDiscarded = counter("ebb_dns_discarded_total", "Datagrams that were not taken for a DNS reply.", "reason")

	DNSRefused = counter("ebb_dns_refused_total", "Records that gave no peer, counted when they first appear, by why: allow_answers, cap, own_listener.", "pool", "reason")

	Reloads = counter("ebb_reloads_total", "Reloads of the config, by result: ok, failed.", "result")

	LogDropped = counter("ebb_log_dropped_total", "Log lines lost to a slow or failing target.")
)

// Emit takes one sample. Values for the same metric and labels are merged.
type Emit func(m *Metric, value float64, labels ...string)

// Metrics are what a balancer exports: samples taken at each scrape, histograms that are fed as things happen, and what the Go
// runtime and the process tell of themselves.
type Metrics struct {
	sample    func(Emit)
	last      []atomic.Int64 // how many series each of the sampled metrics had in the last scrape
	fed       *prometheus.Registry
	connect   *prometheus.HistogramVec
	firstByte *prometheus.HistogramVec
}

// durations are the buckets of the histograms: from a local socket to a connect over a bad link with retransmissions.
var durations = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// NewMetrics makes metrics that call sample at each scrape, from any goroutine.
func NewMetrics(sample func(Emit)) *Metrics {
	seconds := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: durations}, []string{"pool"})
	}
	m := &Metrics{
		sample: sample, last: make([]atomic.Int64, len(sampled)), fed: prometheus.NewRegistry(),
		connect:   seconds("ebb_connect_seconds", "How long connecting to a peer took, where it succeeded."),
		firstByte: seconds("ebb_first_byte_seconds", "Time from a session's start to the first byte of its peer."),
	}
	m.fed.MustRegister(m.connect, m.firstByte, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Connect is where a pool's successful connects are observed, in seconds.
func (m *Metrics) Connect(pool string) prometheus.Observer { return m.connect.WithLabelValues(pool) }

// FirstByte is where a pool's times to the first byte are observed, in seconds.
func (m *Metrics) FirstByte(pool string) prometheus.Observer {
	return m.firstByte.WithLabelValues(pool)
}

// Forget ends the series of a pool that is gone.
func (m *Metrics) Forget(pool string) {
	m.connect.DeleteLabelValues(pool)
	m.firstByte.DeleteLabelValues(pool)
}
