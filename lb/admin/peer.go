package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Order is what an operator says of a peer.
type Order struct {
	Word   string // drain, ready, maint, weight
	Weight int    // for "weight": 0 to 65535, or NoWeight
}

// NoWeight takes an admin weight back.
const NoWeight = -1

// MaxWeight is the largest weight of a peer.
const MaxWeight = 65535

// PeerReply is the document of an order: the peer as it is now.
type PeerReply struct {
	Pool    string `json:"pool"`
	Epoch   uint64 `json:"epoch"`   // the current one
	Changed bool   `json:"changed"` // the order said something new
	Peer    Peer   `json:"peer"`
}

// WeightRequest is the body of an order for a weight. null takes it back.
type WeightRequest struct {
	Weight json.RawMessage `json:"weight"`
}

// Unknown is the error for the name of a listener or a pool, or the address of a peer, that is not there. It says which are.
type Unknown struct {
	Text      string
	Listeners []string
	Pools     []string
	Peers     []string
}

func (u *Unknown) Error() string { return u.Text }

// maxKnown bounds how many names an error lists.
const maxKnown = 100

// unknown answers an error of a source.
func unknown(w http.ResponseWriter, err error) {
	var u *Unknown
	if !errors.As(err, &u) {
		document(w, http.StatusConflict, problem{Error: err.Error()})
		return
	}
	document(w, http.StatusNotFound, problem{
		Error: u.Text, Listeners: first(u.Listeners, maxKnown), Pools: first(u.Pools, maxKnown), Peers: first(u.Peers, maxKnown),
	})
}

func first(list []string, n int) []string { return list[:min(len(list), n)] }

func orderPeer(w http.ResponseWriter, r *http.Request, s Source, word string) {
	o := Order{Word: word}
	if word == "weight" {
		var req WeightRequest
		if !decode(w, r, &req) {
			return
		}
		n, err := readWeight(req.Weight)
		if err != nil {
			document(w, http.StatusBadRequest, problem{Error: "weight: " + err.Error()})
			return
		}
		o.Weight = n
	} else if !decode(w, r, new(struct{})) {
		return
	}
	reply, err := s.OrderPeer(r.PathValue("pool"), r.PathValue("peer"), o)
	if err != nil {
		unknown(w, err)
		return
	}
	document(w, http.StatusOK, reply)
}

func readWeight(raw json.RawMessage) (int, error) {
	if bytes.Equal(raw, []byte("null")) {
		return NoWeight, nil
	}
	n, err := strconv.Atoi(string(raw))
	switch {
	case len(raw) == 0:
		return 0, errors.New("missing, expected a whole number from 0 to 65535, or null for that of the config or DNS")
	case err != nil || n < 0 || n > MaxWeight:
		return 0, fmt.Errorf("found %s, expected a whole number from 0 to 65535, or null for that of the config or DNS", raw)
	}
	return n, nil
}

// ParseWeight reads a weight as people type it; "default" is NoWeight.
func ParseWeight(text string) (int, error) {
	if text == "default" {
		return NoWeight, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > MaxWeight || strings.HasPrefix(text, "+") {
		return 0, fmt.Errorf("found %q, expected a whole number from 0 to 65535, or \"default\"", text)
	}
	return n, nil
}

// OrderPeer says something of a peer, by its ADDRESS:PORT.
func (c *Client) OrderPeer(ctx context.Context, pool, peer string, o Order) (reply PeerReply, err error) {
	var body any = struct{}{}
	if o.Word == "weight" {
		text := strconv.Itoa(o.Weight)
		if o.Weight == NoWeight {
			text = "null"
		}
		body = WeightRequest{json.RawMessage(text)}
	}
	path := "/v1/pools/" + url.PathEscape(pool) + "/peers/" + url.PathEscape(peer) + "/" + o.Word
	return reply, c.do(ctx, http.MethodPost, path, body, &reply)
}
