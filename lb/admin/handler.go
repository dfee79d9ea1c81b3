package admin

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrapes is how many scrapes may run at once.
const scrapes = 4

// route is one path of the API.
type route struct {
	path  string
	serve http.HandlerFunc
}

func handler(s Source, metrics *prometheus.Registry) http.Handler {
	routes := []route{
		{"/livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") }},
		{"/readyz", func(w http.ResponseWriter, _ *http.Request) { ready(w, s) }},
		{"/readyz/{pool}", func(w http.ResponseWriter, r *http.Request) { poolReady(w, r, s) }},
		{"/metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
			MaxRequestsInFlight: scrapes, ErrorHandling: promhttp.ContinueOnError,
		}).ServeHTTP},
		{"/v1/status", func(w http.ResponseWriter, _ *http.Request) { document(w, http.StatusOK, s.Status()) }},
		{"/v1/pools", func(w http.ResponseWriter, _ *http.Request) { document(w, http.StatusOK, s.Status().Pools) }},
		{"/v1/pools/{pool}", func(w http.ResponseWriter, r *http.Request) { onePool(w, r, s) }},
		{"/v1/epochs", func(w http.ResponseWriter, _ *http.Request) { epochs(w, s) }},
		{"/v1/dns", func(w http.ResponseWriter, _ *http.Request) { document(w, http.StatusOK, s.Status().DNS) }},
	}
	mux := http.NewServeMux()
	paths := make([]string, len(routes))
	for i, r := range routes {
		paths[i] = r.path
		mux.HandleFunc(r.path, onlyGet(r.serve))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		document(w, http.StatusNotFound, problem{Error: "no such path: " + r.URL.Path, Paths: paths})
	})
	return onlyLoopbackNames(mux)
}

// problem is the document of an error.
type problem struct {
	Error string   `json:"error"`
	Paths []string `json:"paths,omitempty"` // what there is instead
	Pools []string `json:"pools,omitempty"`
}

func onlyGet(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			document(w, http.StatusMethodNotAllowed, problem{Error: fmt.Sprintf("%s is not possible here: %s is read only", r.Method, r.URL.Path)})
			return
		}
		next(w, r)
	}
}

// onlyLoopbackNames refuses requests whose Host is a name that is not this machine's own (A2).
func onlyLoopbackNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackName(r.Host) {
			document(w, http.StatusForbidden, problem{Error: "the host " + strconv.Quote(r.Host) + " is not localhost or a loopback address"})
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func loopbackName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
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

func document(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client may be gone
}
