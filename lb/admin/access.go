package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// Access says who may ask. The zero value lets this host do everything, by its loopback addresses and localhost.
type Access struct {
	Token     string   // who has it may do everything; "" asks for none, where only this host can ask
	ReadToken string   // who has it may do what changes nothing; "" is none
	Hosts     []string // names that the header Host may have, besides localhost; in lower case
}

// gate lets through what Access allows.
type gate struct {
	local  bool // no other host reaches the address that is bound
	access atomic.Pointer[Access]
}

// rights are what a request may do.
type rights int

const (
	mayNothing rights = iota
	mayRead
	mayAll
)

// guard asks for a host that is meant (A2) and for a token (A5). Who has none gets what is open, if it is that.
func (g *gate) guard(next, open http.Handler, isOpen func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := g.access.Load()
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		changes := r.Method != http.MethodGet && r.Method != http.MethodHead
		switch may := g.rights(a, r); {
		case !g.names(a, r.Host):
			document(w, http.StatusForbidden, problem{Error: "the host " + strconv.Quote(r.Host) + " is not " + g.expectedHost()})
		case may == mayAll || may == mayRead && !changes:
			next.ServeHTTP(w, r)
		case may == mayRead:
			document(w, http.StatusForbidden, problem{Error: "the token is one for reading, and " + r.Method + " changes something"})
		case !changes && isOpen(r):
			open.ServeHTTP(w, r)
		default:
			header.Add("WWW-Authenticate", `Bearer realm="ebb"`)
			header.Add("WWW-Authenticate", `Basic realm="ebb", charset="UTF-8"`) // for browsers: any user, and the token as password
			document(w, http.StatusUnauthorized, problem{Error: "a token is missing or wrong, expected the header \"Authorization: Bearer TOKEN\""})
		}
	})
}

// rights compares what a request brings with both tokens, in a time that says nothing of either.
func (g *gate) rights(a *Access, r *http.Request) rights {
	if a.Token == "" {
		if g.local {
			return mayAll
		}
		return mayNothing
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, given, _ = r.BasicAuth()
	}
	all, read := sameSecret(given, a.Token), sameSecret(given, a.ReadToken)
	switch {
	case all:
		return mayAll
	case read && a.ReadToken != "":
		return mayRead
	}
	return mayNothing
}

// sameSecret hashes first, so that lengths do not show either.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// names tells whether a Host is one that no stranger's DNS can lead here (A2): an address is none of DNS, and where only this
// host can ask it is a loopback one.
func (g *gate) names(a *Access, host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if host == "localhost" || slices.Contains(a.Hosts, strings.TrimSuffix(host, ".")) {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && (!g.local || addr.Unmap().IsLoopback())
}

func (g *gate) expectedHost() string {
	if g.local {
		return "localhost, a loopback address or one of admin.hosts"
	}
	return "an address, localhost or one of admin.hosts"
}
