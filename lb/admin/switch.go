package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// SwitchRequest is the body of a planned switch-over.
type SwitchRequest struct {
	To      string `json:"to"`                // ADDRESS:PORT of the peer that is to become the primary
	Timeout string `json:"timeout,omitempty"` // a duration with its unit; 30s without it
}

// SwitchStep is a line of the answer to it. The last one has the step done or failed.
type SwitchStep struct {
	Step     string  `json:"step"` // held, waiting, done, failed
	Pool     string  `json:"pool"`
	To       string  `json:"to"`
	From     string  `json:"from,omitempty"`    // the primary at the beginning, if there was one
	Primary  string  `json:"primary,omitempty"` // that gets new sessions, if there is one
	Waiting  int64   `json:"waiting"`           // clients that wait
	Sessions int64   `json:"sessions"`          // that live on from
	Held     bool    `json:"held"`              // new clients wait
	Took     float64 `json:"took"`              // seconds since the hold
	Detail   string  `json:"detail,omitempty"`  // of done and failed
}

// DefaultSwitchTimeout is for who names none.
const DefaultSwitchTimeout = 30 * time.Second

// switchPool answers with a line of JSON for each step. The hold lasts no longer than the client stays.
func switchPool(w http.ResponseWriter, r *http.Request, s Source) {
	var req SwitchRequest
	if !decode(w, r, &req) {
		return
	}
	timeout := DefaultSwitchTimeout
	if req.Timeout != "" {
		var err error
		if timeout, err = time.ParseDuration(req.Timeout); err != nil || timeout <= 0 {
			document(w, http.StatusBadRequest, problem{Error: fmt.Sprintf("timeout: found %q, expected a duration above 0, such as 30s", req.Timeout)})
			return
		}
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // that of the request; what a client of this does is read
	lines := json.NewEncoder(w)
	begun := false
	err := s.SwitchPool(r.Context(), r.PathValue("pool"), req.To, timeout, func(step SwitchStep) {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.WriteHeader(http.StatusOK)
		}
		_ = c.SetWriteDeadline(time.Now().Add(streamWrite))
		_ = lines.Encode(step) // who is gone is known by the request's context
		_ = c.Flush()
	})
	if err != nil {
		unknown(w, err)
	}
}

// SwitchPool holds a pool until a peer is its primary, and calls each for every step. It ends with the last of them, which is
// also an error if it is not done; if ctx ends before, ebb gives up and releases the pool.
func (c *Client) SwitchPool(ctx context.Context, pool string, req SwitchRequest, each func(SwitchStep) error) error {
	resp, err := c.open(ctx, http.MethodPost, "/v1/pools/"+url.PathEscape(pool)+"/switch", req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var step SwitchStep
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			return fmt.Errorf("%s is not ebb: %w", c.addr, err)
		}
		if err := each(step); err != nil {
			return err
		}
		switch step.Step {
		case "done":
			return nil
		case "failed":
			return errors.New(step.Detail)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.Join(errors.New("ebb left before it had an answer"), lines.Err())
}
