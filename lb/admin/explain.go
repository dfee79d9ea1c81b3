package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Explanation is the document of /v1/listeners/LISTENER/explain: what a new client would get now, and why.
type Explanation struct {
	Listener string `json:"listener"`
	Source   string `json:"source"` // the client; empty: any
	Pool     string `json:"pool"`
	Balance  string `json:"balance"`
	Epoch    uint64 `json:"epoch"` // the current one
	Cause    string `json:"cause"` // what made it
	Tier     int    `json:"tier"`  // that serves, if a peer may be picked

	Outcome string   `json:"outcome"` // peer, wait, refused, unknown: it depends on what was not said
	Reason  string   `json:"reason"`  // why it is not "peer"; for "refused" the word that ends the session
	Next    []string `json:"next"`    // with "peer": who would get it; several: each loop chooses by what it has given before
	Drawn   bool     `json:"drawn"`   // by lot: another draw may differ
	Peers   []Peer   `json:"peers"`   // alive, by address
}

const sourceForms = "the ADDRESS or ADDRESS:PORT of a client"

// ParseClient reads a client's ADDRESS or ADDRESS:PORT; without a port that is 0.
func ParseClient(text string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("found %q, expected %s", text, sourceForms)
	}
	return netip.AddrPortFrom(a.Unmap(), 0), nil
}

// explain answers for one client of one listener.
func explain(w http.ResponseWriter, r *http.Request, s Source) {
	var client netip.AddrPort
	var sni string
	for name, texts := range r.URL.Query() {
		if name == "sni" && len(texts) == 1 {
			sni = strings.ToLower(texts[0])
			continue
		}
		if name != "source" || len(texts) > 1 {
			document(w, http.StatusBadRequest, problem{Error: fmt.Sprintf("%s: expected at most one source, %s, and one sni", name, sourceForms)})
			return
		}
		var err error
		if client, err = ParseClient(texts[0]); err != nil {
			document(w, http.StatusBadRequest, problem{Error: "source: " + err.Error()})
			return
		}
	}
	x, err := s.Explain(r.PathValue("listener"), client, sni)
	if err != nil {
		unknown(w, err)
		return
	}
	document(w, http.StatusOK, x)
}

// Explain asks what a new client of a listener would get. Without a valid client it asks for any; sni is the name that the
// client asks for, "" for none.
func (c *Client) Explain(ctx context.Context, listener string, client netip.AddrPort, sni string) (x Explanation, err error) {
	path := "/v1/listeners/" + url.PathEscape(listener) + "/explain"
	query := make(url.Values)
	switch {
	case client.Addr().IsValid() && client.Port() == 0:
		query.Set("source", client.Addr().String())
	case client.Addr().IsValid():
		query.Set("source", client.String())
	}
	if sni != "" {
		query.Set("sni", sni)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return x, c.do(ctx, http.MethodGet, path, nil, &x)
}
