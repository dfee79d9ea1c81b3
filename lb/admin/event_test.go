package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// serveEvents is serve with a memory of events.
func serveEvents(t *testing.T) (*Server, *Events) {
	t.Helper()
	e := NewEvents()
	s, err := NewServer(Settings{Listen: "127.0.0.1:0"}, example(), NewMetrics(nothing), e, quiet)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.Shutdown(ctx)
	})
	return s, e
}

func add(e *Events, n int) {
	for range n {
		e.Add(Event{Time: time.Now(), Kind: "peer_up", Level: "info", Attrs: map[string]any{"pool": "db"}})
	}
}

// take gives what there is after an id, and how many were forgotten.
func take(t *testing.T, s *Server, since uint64) (ids []uint64, lost uint64) {
	t.Helper()
	err := NewClient(s.Addr(), "").Events(context.Background(), since, false, func(e Event) error {
		if e.Kind != "peer_up" || e.Attrs["pool"] != "db" || e.Level != "info" {
			t.Errorf("%+v", e)
		}
		ids = append(ids, e.ID)
		return nil
	}, func(n uint64) { lost += n })
	if err != nil {
		t.Fatal(err)
	}
	return ids, lost
}

func TestEventsAreRememberedAndResumed(t *testing.T) {
	s, e := serveEvents(t)
	if ids, lost := take(t, s, 0); len(ids) != 0 || lost != 0 {
		t.Errorf("before any: %v %d", ids, lost)
	}
	add(e, 100)
	ids, lost := take(t, s, 0)
	if len(ids) != 100 || lost != 0 || !slices.IsSorted(ids) || ids[99]-ids[0] != 99 {
		t.Fatalf("%v %d", ids, lost)
	}
	if after, lost := take(t, s, ids[89]); !slices.Equal(after, ids[90:]) || lost != 0 {
		t.Errorf("resumed: %v %d", after, lost)
	}
	if after, lost := take(t, s, ids[99]); len(after) != 0 || lost != 0 {
		t.Errorf("at the end: %v %d", after, lost)
	}
	if after, lost := take(t, s, ids[0]-50); len(after) != 100 || lost != 0 {
		t.Errorf("with an id of the run before: %d events, %d lost", len(after), lost)
	}
	add(e, eventsKept)
	all, lost := take(t, s, 0)
	if len(all) != eventsKept || lost != 0 || all[0] != ids[99]+1 {
		t.Errorf("%d events from %d, %d lost", len(all), all[0], lost)
	}
	if after, lost := take(t, s, ids[89]); len(after) != eventsKept || lost != 10 {
		t.Errorf("after what is forgotten: %d, %d lost", len(after), lost)
	}
}

func TestEventsFollow(t *testing.T) {
	s, e := serveEvents(t)
	add(e, 1)
	got := make(chan uint64)
	enough := errors.New("enough")
	done := make(chan error)
	go func() {
		n := 0
		done <- NewClient(s.Addr(), "").Events(context.Background(), 0, true, func(e Event) error {
			got <- e.ID
			if n++; n == 3 {
				return enough
			}
			return nil
		}, func(uint64) {})
	}()
	first := <-got
	for i := range uint64(2) {
		add(e, 1)
		if id := <-got; id != first+i+1 {
			t.Errorf("%d after %d", id, first)
		}
	}
	if err := <-done; err != enough {
		t.Error(err)
	}
}

// What curl and browsers see: the format, and where to go on.
func TestEventStreamFormat(t *testing.T) {
	s, e := serveEvents(t)
	add(e, 2)
	e.Add(Event{Kind: "odd", Attrs: map[string]any{"text": "a\nb\r\x1b\"<", "n": math.Inf(1)}})
	e.Add(Event{Kind: "odd", Attrs: map[string]any{"text": "a\nb\r\x1b\"<"}})
	code, header, body := request(t, s, "GET", "", "/v1/events?follow=no")
	if code != 200 || header.Get("Content-Type") != "text/event-stream" || strings.Count(body, "\n\n") != 4 || strings.Contains(body, "\r") ||
		!strings.Contains(body, fmt.Sprintf("id: %d\nevent: peer_up\ndata: {\"id\":%d,", e.first+1, e.first+1)) {
		t.Errorf("%d %v\n%s", code, header, body)
	}
	if code, _, body := request(t, s, "HEAD", "", "/v1/events"); code != 200 || body != "" {
		t.Errorf("HEAD: %d %q", code, body)
	}
	req, _ := http.NewRequest("GET", fmt.Sprintf("http://%s/v1/events?follow=no&since=%d", s.Addr(), e.first), nil)
	req.Header.Set("Last-Event-ID", fmt.Sprint(e.first+2)) // wins, for it is younger than the address
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer resp.Body.Close()
	ids := 0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "id: ") {
			ids++
		}
	}
	if ids != 1 {
		t.Errorf("%d events after the third of four", ids)
	}
	for _, path := range []string{"?since=x", "?follow=maybe", "?since=1&since=2", "?until=3"} {
		if code, _, body := request(t, s, "GET", "", "/v1/events"+path); code != 400 || !strings.Contains(body, "found") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// A client that reads nothing costs its own place and nothing else: adding goes on, and it is cut when its buffers are full.
func TestA3FollowersAreBounded(t *testing.T) {
	s, e := serveEvents(t)
	add(e, 1)
	var held []net.Conn
	for range maxStreams {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
		c.SetReadDeadline(time.Now().Add(patience))
		if line, err := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, " 200 ") {
			t.Fatal(line, err)
		}
		held = append(held, c)
	}
	if code, _, body := request(t, s, "GET", "", "/v1/events"); code != 503 || !strings.Contains(body, "16 clients follow") {
		t.Errorf("one more: %d %s", code, body)
	}
	add(e, 10*eventsKept) // nobody reads
	held[0].Close()
	for give := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if code, _, _ := request(t, s, "GET", "", "/v1/events?follow=no"); code == 200 {
			break
		}
		if time.Now().After(give) {
			t.Fatal("no room after one has left")
		}
	}
}

// Followers do not hold up the end.
func TestShutdownEndsTheStreams(t *testing.T) {
	s, err := NewServer(Settings{Listen: "127.0.0.1:0"}, example(), NewMetrics(nothing), NewEvents(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	add(s.streams.events, 1)
	began, done := make(chan bool, 1), make(chan error)
	go func() {
		done <- NewClient(s.Addr(), "").Events(context.Background(), 0, true, func(Event) error { began <- true; return nil }, func(uint64) {})
	}()
	<-began
	s.Shutdown(context.Background())
	if err := <-done; err != nil {
		t.Error(err)
	}
}
