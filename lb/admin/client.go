package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxDocument bounds what a client reads: about 100,000 peers.
const maxDocument = 32 << 20

// Client asks a running balancer.
type Client struct {
	addr string
	http http.Client
}

// NewClient makes a client of the API at ADDRESS:PORT. Proxies of the environment are not used: the API is local.
func NewClient(addr string) *Client {
	return &Client{addr: addr, http: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// Status asks for the document. Its time is bounded by ctx.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.addr+"/v1/status", nil)
	if err != nil {
		return s, fmt.Errorf("admin address %q: %w", c.addr, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return s, fmt.Errorf("no answer from ebb: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // for people; the status is what counts
		return s, fmt.Errorf("%s answered %s: %s", c.addr, resp.Status, strings.TrimSpace(string(body)))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(&s); err != nil {
		return s, fmt.Errorf("%s is not ebb: %w", c.addr, err)
	}
	return s, nil
}
