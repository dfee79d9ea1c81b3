package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxDocument bounds what a client reads: about 100,000 peers.
const maxDocument = 32 << 20

// maxRefusal bounds what it reads of an error.
const maxRefusal = 1 << 20

// Client asks a running balancer.
type Client struct {
	addr  string // as it was given
	host  string // of URLs
	token string
	http  http.Client
}

// NewClient makes a client of the API at ADDRESS:PORT, or at "unix:" and a path. An empty token is none. Proxies of the
// environment are not used: the API is nobody else's to see.
func NewClient(addr, token string) *Client {
	transport := &http.Transport{DisableKeepAlives: true}
	host := addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		host = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	return &Client{addr: addr, host: host, token: token, http: http.Client{Transport: transport}}
}

// Status asks for the document. Its time is bounded by ctx.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// RefreshNames makes ebb ask DNS for a name now, or for all with "". It says how many questions that makes.
func (c *Client) RefreshNames(ctx context.Context, name string) (questions int, err error) {
	var reply RefreshReply
	err = c.do(ctx, http.MethodPost, "/v1/dns/refresh", RefreshRequest{name}, &reply)
	return reply.Questions, err
}

// Conns lists sessions, and says how many there are for the filter, listed or not.
func (c *Client) Conns(ctx context.Context, f ConnFilter) (list []Conn, n int, err error) {
	header, err := c.exchange(ctx, http.MethodGet, "/v1/conns?"+f.Query().Encode(), nil, &list)
	if err != nil {
		return nil, 0, err
	}
	if n, err = strconv.Atoi(header.Get(matched)); err != nil {
		return nil, 0, fmt.Errorf("%s is not ebb: no %s", c.addr, matched)
	}
	return list, n, nil
}

// KillConn ends one session.
func (c *Client) KillConn(ctx context.Context, id uint64) error {
	return c.do(ctx, http.MethodDelete, "/v1/conns/"+strconv.FormatUint(id, 10), nil, new(KillReply))
}

// KillConns ends every session that the filter lets pass and says how many.
func (c *Client) KillConns(ctx context.Context, f ConnFilter) (killed int, err error) {
	var reply KillReply
	err = c.do(ctx, http.MethodDelete, "/v1/conns?"+f.Query().Encode(), nil, &reply)
	return reply.Killed, err
}

// do sends body, if there is one, as JSON and reads a document into reply.
func (c *Client) do(ctx context.Context, method, path string, body, reply any) error {
	_, err := c.exchange(ctx, method, path, body, reply)
	return err
}

// exchange is do that also gives the header of the answer.
func (c *Client) exchange(ctx context.Context, method, path string, body, reply any) (http.Header, error) {
	resp, err := c.open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(reply); err != nil {
		return nil, fmt.Errorf("%s is not ebb: %w", c.addr, err)
	}
	return resp.Header, nil
}

// open sends a request. If there is an answer that is no refusal, its body is to be closed.
func (c *Client) open(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.host+path, sent)
	if err != nil {
		return nil, fmt.Errorf("admin address %q: %w", c.addr, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no answer from ebb: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		return nil, c.refused(resp)
	}
	return resp, nil
}

// Refusal is an answer of ebb that is an error.
type Refusal struct {
	Status int // of HTTP
	Text   string
}

func (r *Refusal) Error() string { return r.Text }

// refused says why there is no document, in the words of the other side.
func (c *Client) refused(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // for people; the status is what counts
	var p problem
	if json.Unmarshal(body, &p) == nil && p.Error != "" {
		if len(p.Problems) > 0 {
			return &Invalid{p.Problems}
		}
		if known := slices.Concat(p.Listeners, p.Pools, p.Peers); len(known) > 0 {
			p.Error += ", expected one of " + strings.Join(known, ", ")
		}
		return &Refusal{resp.StatusCode, p.Error}
	}
	return &Refusal{resp.StatusCode, fmt.Sprintf("%s answered %s: %s", c.addr, resp.Status, strings.TrimSpace(string(body)))}
}
