package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrapes is how many scrapes may run at once.
const scrapes = 4

// maxBody bounds what a client may send, but for a config.
const maxBody = 16 << 10

// route is what one method does at one path of the API.
type route struct {
	method, path string
	serve        http.HandlerFunc
}

func routes(s Source, metrics prometheus.Gatherer, events *streams) []route {
	get := func(path string, serve http.HandlerFunc) route { return route{http.MethodGet, path, serve} }
	var description map[string]any
	list := []route{
		get("/livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") }),
		get("/readyz", func(w http.ResponseWriter, _ *http.Request) { ready(w, s) }),
		get("/readyz/{pool}", func(w http.ResponseWriter, r *http.Request) { poolReady(w, r, s) }),
		get("/metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
			MaxRequestsInFlight: scrapes, ErrorHandling: promhttp.ContinueOnError, DisableCompression: true, // which would cost an eighth of a scrape
		}).ServeHTTP),
		get("/v1/status", func(w http.ResponseWriter, _ *http.Request) { document(w, http.StatusOK, s.Status()) }),
		get("/v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) { document(w, http.StatusOK, description) }),
		get("/v1/pools", func(w http.ResponseWriter, _ *http.Request) { document(w, http.StatusOK, s.Status().Pools) }),
		get("/v1/pools/{pool}", func(w http.ResponseWriter, r *http.Request) { onePool(w, r, s) }),
		{http.MethodPost, "/v1/pools/{pool}/peers/{peer}/drain", func(w http.ResponseWriter, r *http.Request) { orderPeer(w, r, s, "drain") }},
		{http.MethodPost, "/v1/pools/{pool}/peers/{peer}/ready", func(w http.ResponseWriter, r *http.Request) { orderPeer(w, r, s, "ready") }},
		{http.MethodPost, "/v1/pools/{pool}/peers/{peer}/maint", func(w http.ResponseWriter, r *http.Request) { orderPeer(w, r, s, "maint") }},
		{http.MethodPost, "/v1/pools/{pool}/peers/{peer}/weight", func(w http.ResponseWriter, r *http.Request) { orderPeer(w, r, s, "weight") }},
		{http.MethodPost, "/v1/pools/{pool}/hold", func(w http.ResponseWriter, r *http.Request) { holdPool(w, r, s, true) }},
		{http.MethodPost, "/v1/pools/{pool}/release", func(w http.ResponseWriter, r *http.Request) { holdPool(w, r, s, false) }},
		{http.MethodPost, "/v1/pools/{pool}/switch", func(w http.ResponseWriter, r *http.Request) { switchPool(w, r, s) }},
		get("/v1/listeners/{listener}/explain", func(w http.ResponseWriter, r *http.Request) { explain(w, r, s) }),
		get("/v1/epochs", func(w http.ResponseWriter, _ *http.Request) { epochs(w, s) }),
		get("/v1/conns", func(w http.ResponseWriter, r *http.Request) { conns(w, r, s) }),
		{http.MethodDelete, "/v1/conns", func(w http.ResponseWriter, r *http.Request) { killMany(w, r, s) }},
		{http.MethodDelete, "/v1/conns/{id}", func(w http.ResponseWriter, r *http.Request) { killOne(w, r, s) }},
		get("/v1/events", events.serve),
		get("/v1/dns", func(w http.ResponseWriter, _ *http.Request) { document(w, http.StatusOK, s.Status().DNS) }),
		{http.MethodPost, "/v1/reload", func(w http.ResponseWriter, r *http.Request) { reload(w, r, s) }},
		{http.MethodPost, planPath, func(w http.ResponseWriter, r *http.Request) { planReload(w, r, s) }},
		{http.MethodPost, "/v1/dns/refresh", func(w http.ResponseWriter, r *http.Request) { refresh(w, r, s) }},
	}
	description = describe(list)
	return list
}

func handler(s Source, metrics prometheus.Gatherer, events *streams, g *gate) http.Handler {
	var paths []string
	byPath := make(map[string][]route)
	for _, r := range routes(s, metrics, events) {
		if byPath[r.path] == nil {
			paths = append(paths, r.path)
		}
		byPath[r.path] = append(byPath[r.path], r)
	}
	mux := http.NewServeMux()
	for path, list := range byPath {
		mux.HandleFunc(path, oneOf(list))
	}
	addDashboard(mux, g)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		document(w, http.StatusNotFound, problem{Error: "no such path: " + r.URL.Path, Paths: paths})
	})
	open := probes(s)
	return g.guard(mux, open, func(r *http.Request) bool {
		_, pattern := open.Handler(r)
		return pattern != ""
	})
}

// probes serves who has no token but has to know whether to send clients here. Why not, is for others.
func probes(s Source) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ok, _ := s.Ready(); !ok {
			text(w, http.StatusServiceUnavailable, "not ready")
			return
		}
		text(w, http.StatusOK, "ok")
	})
	return mux
}

// problem is the document of an error.
type problem struct {
	Error string   `json:"error"`
	Paths []string `json:"paths,omitempty"` // what there is instead
	Pools []string `json:"pools,omitempty"`
	Peers []string `json:"peers,omitempty"`

	Listeners []string `json:"listeners,omitempty"`

	Problems []string `json:"problems,omitempty"` // of a config
}

// oneOf serves the methods of one path.
func oneOf(list []route) http.HandlerFunc {
	serve := make(map[string]http.HandlerFunc)
	var methods []string
	for _, r := range list {
		methods = append(methods, r.method)
		if r.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
			serve[http.MethodGet], serve[http.MethodHead] = r.serve, r.serve
		} else {
			serve[r.method] = guarded(r.serve)
		}
	}
	allow := strings.Join(methods, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		if next := serve[r.Method]; next != nil {
			next(w, r)
			return
		}
		w.Header().Set("Allow", allow)
		wants := "wants " + allow
		if methods[0] == http.MethodGet && len(list) == 1 {
			wants = "is read only"
		}
		document(w, http.StatusMethodNotAllowed, problem{Error: fmt.Sprintf("%s is not possible here: %s %s", r.Method, r.URL.Path, wants)})
	}
}

// guarded lets through what no web page can send (A1). A body is bounded and must be JSON. A DELETE, which no form can
// send, has none.
func guarded(next http.HandlerFunc) http.HandlerFunc {
	origins := http.NewCrossOriginProtection()
	return func(w http.ResponseWriter, r *http.Request) {
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		switch {
		case origins.Check(r) != nil:
			document(w, http.StatusForbidden, problem{Error: "the request comes from a web page of " + strconv.Quote(r.Header.Get("Origin"))})
		case r.Method == http.MethodDelete && r.ContentLength != 0:
			document(w, http.StatusBadRequest, problem{Error: "DELETE: found a body, expected none"})
		case r.Method != http.MethodDelete && (err != nil || kind != "application/json"):
			document(w, http.StatusUnsupportedMediaType, problem{Error: "the content type must be application/json"})
		default:
			most := int64(maxBody)
			if r.URL.Path == planPath {
				most = maxConfig
				_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(configTimeout)) // else that of every request holds
			}
			r.Body = http.MaxBytesReader(w, r.Body, most)
			next(w, r)
		}
	}
}

func ready(w http.ResponseWriter, s Source) {
	if ok, reasons := s.Ready(); !ok {
		text(w, http.StatusServiceUnavailable, reasons...)
		return
	}
	text(w, http.StatusOK, "ok")
}

// poolReady answers for one pool: ready with at least min peers that may be picked.
func poolReady(w http.ResponseWriter, r *http.Request, s Source) {
	atLeast := 1
	if q := r.URL.Query(); q.Has("min") {
		n, err := strconv.Atoi(q.Get("min"))
		if err != nil || n < 1 {
			text(w, http.StatusBadRequest, fmt.Sprintf("min=%s: expected a number from 1", q.Get("min")))
			return
		}
		atLeast = n
	}
	status := s.Status()
	p, ok := status.Pool(r.PathValue("pool"))
	switch {
	case !ok:
		text(w, http.StatusNotFound, "no pool is named "+strconv.Quote(r.PathValue("pool")))
	case status.Stopping:
		text(w, http.StatusServiceUnavailable, status.Reasons...)
	case p.Selectable < atLeast:
		text(w, http.StatusServiceUnavailable, fmt.Sprintf("pool %s: %d of %d peers", p.Name, p.Selectable, atLeast))
	default:
		text(w, http.StatusOK, "ok")
	}
}

func onePool(w http.ResponseWriter, r *http.Request, s Source) {
	status := s.Status()
	if p, ok := status.Pool(r.PathValue("pool")); ok {
		document(w, http.StatusOK, p)
		return
	}
	p := problem{Error: "no pool is named " + strconv.Quote(r.PathValue("pool"))}
	for _, known := range status.Pools {
		p.Pools = append(p.Pools, known.Name)
	}
	document(w, http.StatusNotFound, p)
}

// PoolEpochs is an element of the document of /v1/epochs.
type PoolEpochs struct {
	Pool      string  `json:"pool"`
	Epoch     uint64  `json:"epoch"`
	Published uint64  `json:"published"`
	Reclaimed uint64  `json:"reclaimed"`
	Epochs    []Epoch `json:"epochs"`
}

func epochs(w http.ResponseWriter, s Source) {
	list := []PoolEpochs{}
	for _, p := range s.Status().Pools {
		list = append(list, PoolEpochs{p.Name, p.Epoch, p.EpochsPublished, p.EpochsReclaimed, p.Epochs})
	}
	document(w, http.StatusOK, list)
}

func text(w http.ResponseWriter, code int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, strings.Join(lines, "\n")) // the client may be gone
}

// readable is how long a document is, in bytes, that is written for people to read. To indent a longer one costs as much as to
// make it.
const readable = 64 << 10

func document(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	_ = json.NewEncoder(b).Encode(v) // into memory
	if b.Len() < readable {
		var indented bytes.Buffer
		_ = json.Indent(&indented, b.Bytes(), "", "  ") // which is JSON
		_, _ = indented.WriteTo(w)                      // the client may be gone
		return
	}
	_, _ = w.Write(b.Bytes())
}

// buffers hold documents on their way: one of a thousand peers has half a megabyte.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// RefreshRequest is the body of /v1/dns/refresh. Without a name all are meant.
type RefreshRequest struct {
	Name string `json:"name,omitempty"`
}

// RefreshReply says how many questions a refresh makes, by name and type.
type RefreshReply struct {
	Questions int `json:"questions"`
}

func refresh(w http.ResponseWriter, r *http.Request, s Source) {
	var req RefreshRequest
	if !decode(w, r, &req) {
		return
	}
	n := s.RefreshNames(req.Name)
	if n == 0 && req.Name != "" {
		document(w, http.StatusNotFound, problem{Error: "the name " + strconv.Quote(req.Name) + " is not watched"})
		return
	}
	document(w, http.StatusOK, RefreshReply{n})
}

// decode reads a body of one JSON document with the keys that it may have. It answers itself if that is not there.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); err == nil {
			err = errors.New("more than one document")
		}
	}
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF): // the document, if there is one, and nothing after it
		return true
	case errors.As(err, &large):
		document(w, http.StatusRequestEntityTooLarge, problem{Error: fmt.Sprintf("the body has more than %d bytes", large.Limit)})
	default:
		document(w, http.StatusBadRequest, problem{Error: "the body: " + err.Error()})
	}
	return false
}
