package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Conn is an element of the document of /v1/conns: a session that lives, a TCP connection or a UDP flow.
type Conn struct {
	ID       uint64  `json:"id"`
	Listener string  `json:"listener"`
	Pool     string  `json:"pool"`
	Protocol string  `json:"protocol"` // tcp, udp
	Peer     string  `json:"peer"`     // empty until it is connected
	Epoch    uint64  `json:"epoch"`    // that it holds; 0 until it is connected
	Client   string  `json:"client"`
	Local    string  `json:"local"`    // what the client connected to
	Upstream string  `json:"upstream"` // our own address towards the peer; empty until it is connected
	Age      float64 `json:"age"`      // seconds
	Idle     float64 `json:"idle"`     // seconds since something moved
	In       int64   `json:"in"`       // bytes from the client that the peer has been sent
	Out      int64   `json:"out"`      // bytes from the peer that the client has been sent
}

// ConnFilter says which sessions are meant: those for which everything holds that is set.
type ConnFilter struct {
	ID             uint64
	Listener, Pool string
	Peer           string       // ADDRESS:PORT, or ADDRESS for all its ports
	Source         netip.Prefix // of the client
	Epoch          uint64
	MinAge         time.Duration
	Limit          int // of those, how many; the oldest come first. 0 is MaxConnList
}

// MaxConnList is how many sessions one document lists at most, and without a limit.
const MaxConnList = 10_000

// matched names the header that says how many sessions there were for a filter, listed or not.
const matched = "Ebb-Matched"

// All tells whether the filter lets everything pass.
func (f ConnFilter) All() bool {
	f.Limit = 0
	return f == ConnFilter{}
}

// Query is the filter as the API takes it.
func (f ConnFilter) Query() url.Values {
	q := make(url.Values)
	set := func(key, text string, is bool) {
		if is {
			q.Set(key, text)
		}
	}
	set("id", strconv.FormatUint(f.ID, 10), f.ID > 0)
	set("listener", f.Listener, f.Listener != "")
	set("pool", f.Pool, f.Pool != "")
	set("peer", f.Peer, f.Peer != "")
	set("source", f.Source.String(), f.Source.IsValid())
	set("epoch", strconv.FormatUint(f.Epoch, 10), f.Epoch > 0)
	set("min_age", f.MinAge.String(), f.MinAge > 0)
	set("limit", strconv.Itoa(f.Limit), f.Limit > 0)
	return q
}

// connFilters are the keys of a query, each with what it sets.
var connFilters = map[string]func(f *ConnFilter, text string) error{
	"id":       func(f *ConnFilter, text string) (err error) { f.ID, err = positive(text); return err },
	"listener": func(f *ConnFilter, text string) error { f.Listener = text; return nonempty(text) },
	"pool":     func(f *ConnFilter, text string) error { f.Pool = text; return nonempty(text) },
	"peer":     func(f *ConnFilter, text string) (err error) { f.Peer, err = ParsePeer(text); return err },
	"source":   func(f *ConnFilter, text string) (err error) { f.Source, err = ParseSource(text); return err },
	"epoch":    func(f *ConnFilter, text string) (err error) { f.Epoch, err = positive(text); return err },
	"min_age": func(f *ConnFilter, text string) (err error) {
		if f.MinAge, err = time.ParseDuration(text); err != nil || f.MinAge < 0 {
			return errors.New(`expected a duration such as "1m30s"`)
		}
		return nil
	},
	"limit": func(f *ConnFilter, text string) error {
		n, err := positive(text)
		if err != nil || n > MaxConnList {
			return fmt.Errorf("expected a number from 1 to %d", MaxConnList)
		}
		f.Limit = int(n)
		return nil
	},
}

func positive(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, errors.New("expected a number from 1")
	}
	return n, nil
}

func nonempty(text string) error {
	if text == "" {
		return errors.New("expected a name")
	}
	return nil
}

// ParsePeer gives ADDRESS:PORT or ADDRESS as documents show it.
func ParsePeer(text string) (string, error) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String(), nil
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return "", errors.New("expected ADDRESS:PORT or ADDRESS")
	}
	return a.Unmap().String(), nil
}

// ParseSource gives the prefix of a CIDR, or of one address.
func ParseSource(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil && !p.Addr().Is4In6() {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, errors.New("expected an address or a CIDR such as 10.0.0.0/8")
	}
	return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
}

// filter reads the query of a request. It answers itself if that is not one, or names what is not there.
func filter(w http.ResponseWriter, r *http.Request, s Source) (f ConnFilter, ok bool) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		document(w, http.StatusBadRequest, problem{Error: "the query: " + err.Error()})
		return f, false
	}
	for key, values := range q {
		set := connFilters[key]
		switch {
		case set == nil:
			var known []string
			for k := range connFilters {
				known = append(known, k)
			}
			slices.Sort(known)
			err = fmt.Errorf("found %q, expected one of %s", key, strings.Join(known, ", "))
		case len(values) > 1:
			err = fmt.Errorf("found %s more than once", key)
		default:
			if err = set(&f, values[0]); err != nil {
				err = fmt.Errorf("%s: found %q, %w", key, values[0], err)
			}
		}
		if err != nil {
			document(w, http.StatusBadRequest, problem{Error: "the query: " + err.Error()})
			return f, false
		}
	}
	if err := s.Named(f); err != nil {
		unknown(w, err)
		return f, false
	}
	return f, true
}

func conns(w http.ResponseWriter, r *http.Request, s Source) {
	f, ok := filter(w, r, s)
	if !ok {
		return
	}
	if f.Limit == 0 {
		f.Limit = MaxConnList
	}
	list, n := s.Conns(f)
	w.Header().Set(matched, strconv.Itoa(n))
	document(w, http.StatusOK, list)
}

// KillReply says how many sessions were told to end.
type KillReply struct {
	Killed int `json:"killed"`
}

func killOne(w http.ResponseWriter, r *http.Request, s Source) {
	id, err := positive(r.PathValue("id"))
	if err != nil {
		document(w, http.StatusBadRequest, problem{Error: fmt.Sprintf("the id: found %q, %v", r.PathValue("id"), err)})
		return
	}
	n := s.KillConns(ConnFilter{ID: id})
	if n == 0 {
		document(w, http.StatusNotFound, problem{Error: fmt.Sprintf("no session has the id %d", id)})
		return
	}
	document(w, http.StatusOK, KillReply{n})
}

func killMany(w http.ResponseWriter, r *http.Request, s Source) {
	f, ok := filter(w, r, s)
	switch {
	case !ok:
	case f.Limit > 0:
		document(w, http.StatusBadRequest, problem{Error: "the query: found limit, expected to end all that the filter lets pass"})
	case f.All():
		document(w, http.StatusBadRequest, problem{Error: "the query: found no filter, expected one: not every session is to be ended by mistake"})
	default:
		document(w, http.StatusOK, KillReply{s.KillConns(f)})
	}
}
