package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of the streams (A3).
const (
	eventsAtOnce  = 64
	maxStreams    = 16
	streamWrite   = 10 * time.Second // for a client to take what it is sent
	streamQuiet   = 15 * time.Second // after which a comment shows that the stream lives
	maxEventBytes = 1 << 20
)

// streams serves /v1/events.
type streams struct {
	events *Events
	room   chan struct{}
	done   <-chan struct{} // closed when the server stops
}

func newStreams(e *Events, done <-chan struct{}) *streams {
	return &streams{e, make(chan struct{}, maxStreams), done}
}

// serve sends events in the format of server-sent events (WHATWG HTML, 9.2), from the one after Last-Event-ID or "since",
// or from the oldest that is remembered; with follow=no it ends with the newest.
func (s *streams) serve(w http.ResponseWriter, r *http.Request) {
	last, follow, err := streamQuery(r)
	if err != nil {
		document(w, http.StatusBadRequest, problem{Error: err.Error()})
		return
	}
	select {
	case s.room <- struct{}{}:
		defer func() { <-s.room }()
	default:
		document(w, http.StatusServiceUnavailable, problem{Error: fmt.Sprintf("%d clients follow the events already", maxStreams)})
		return
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // that of the request; what a client of this does is read
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	quiet := time.NewTicker(streamQuiet)
	defer quiet.Stop()
	for {
		list, from, missed, more := s.events.after(last)
		_ = c.SetWriteDeadline(time.Now().Add(streamWrite))
		if missed > 0 {
			fmt.Fprintf(w, "event: missed\ndata: {\"missed\":%d}\n\n", missed)
		}
		for i, e := range list {
			last = from + uint64(i)
			fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", last, e.Kind, e.data())
		}
		if c.Flush() != nil {
			return
		}
		if len(list) > 0 {
			continue
		}
		if !follow {
			return
		}
		select {
		case <-more:
		case <-quiet.C:
			_, _ = io.WriteString(w, ":\n\n") // Flush tells
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		}
	}
}

func streamQuery(r *http.Request) (last uint64, follow bool, err error) {
	follow = true
	text := r.Header.Get("Last-Event-ID")
	for key, values := range r.URL.Query() {
		switch value := values[0]; {
		case len(values) > 1:
			return 0, false, fmt.Errorf("the query: found %s more than once", key)
		case key == "since":
			if text == "" { // a client that comes back knows better than its address
				text = value
			}
		case key == "follow" && (value == "yes" || value == "no"):
			follow = value == "yes"
		case key == "follow":
			return 0, false, fmt.Errorf("the query: follow: found %q, expected yes or no", value)
		default:
			return 0, false, fmt.Errorf("the query: found %q, expected since or follow", key)
		}
	}
	if text == "" {
		return 0, follow, nil
	}
	if last, err = strconv.ParseUint(text, 10, 63); err != nil {
		return 0, false, fmt.Errorf("found %q, expected the id of an event", text)
	}
	return last, follow, nil
}

// Events calls each for every event after the id since, or for all that are remembered with 0; with follow it goes on
// until ctx is done, ebb ends, or each returns an error. missed is told of events that were forgotten before they could be
// sent.
func (c *Client) Events(ctx context.Context, since uint64, follow bool, each func(Event) error, missed func(n uint64)) error {
	path := "/v1/events?follow=yes"
	if !follow {
		path = "/v1/events?follow=no"
	}
	if since > 0 {
		path += "&since=" + strconv.FormatUint(since, 10)
	}
	resp, err := c.open(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEventBytes)
	kind := ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "event":
			kind = value
		case field == "data" && kind == "missed":
			var m struct{ Missed uint64 }
			if err := json.Unmarshal([]byte(value), &m); err != nil {
				return fmt.Errorf("%s is not ebb: %w", c.addr, err)
			}
			missed(m.Missed)
		case field == "data":
			var e Event
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				return fmt.Errorf("%s is not ebb: %w", c.addr, err)
			}
			if err := each(e); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}
