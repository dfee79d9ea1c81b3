package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebb-lb/ebb/lb/admin"
)

// lastLine gives the figures of a demo's last line: connections, failed, bytes, epochs, reclaimed, datagrams, lost.
func lastLine(t *testing.T, out string) []int {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	last := lines[len(lines)-1]
	m := regexp.MustCompile(`^connections=(\d+) failed=(\d+) bytes=(\d+) epochs=(\d+) reclaimed=(\d+) datagrams=(\d+) lost=(\d+)$`).FindStringSubmatch(last)
	if m == nil {
		t.Fatalf("last line %q\nin %s", last, out)
	}
	var figures []int
	for _, text := range m[1:] {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		figures = append(figures, n)
	}
	return figures
}

// wellDone checks the figures of a demo that showed what it was to show.
func wellDone(t *testing.T, out string, epochs int) {
	t.Helper()
	n := lastLine(t, out)
	if n[0] < 50 || n[1] != 0 || n[2] < n[0] || n[3] < epochs || n[4] != n[3] || n[5] < 50 || n[6] != 0 {
		t.Errorf("connections, failed, bytes, epochs, reclaimed, datagrams, lost: %v, want at least %d epochs\n%s", n, epochs, out)
	}
}

func listenTestBackends(t *testing.T) demoBackends {
	t.Helper()
	backends, err := listenBackends()
	if err != nil {
		t.Fatal(err)
	}
	return backends
}

func TestDemo(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"demo", "--for", "5s"}, &stdout, &stderr); code != exitDone {
		t.Errorf("exit %d", code)
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", &stderr)
	}
	out := stdout.String()
	wellDone(t, out, 3) // the empty one, the first answer, and at least one change
	for _, line := range []string{`dns +db\.demo A 127\.0\.0\.2 127\.0\.0\.3  \+backend-a \+backend-b`, `dns .*  \+backend-c`,
		`epoch +2 published by dns: `, `reclaimed +2 after \d`, `client +connections=\d+ failed=0 .* long=6`} {
		if !regexp.MustCompile(`(?m)^ *\d+\.\d\ds  ` + line).MatchString(out) {
			t.Errorf("no line %s in\n%s", line, out)
		}
	}
}

// TestDemoNamesApart plays where the loopback has one address.
func TestDemoNamesApart(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	backends, err := bindBackends(false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var out bytes.Buffer
	if err := runDemo(ctx, backends, &demoLines{&out}, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	wellDone(t, out.String(), 3)
	if !strings.Contains(out.String(), "c.db.demo no A") || !strings.Contains(out.String(), "c.db.demo A 127.0.0.1") {
		t.Errorf("the names did not come and go:\n%s", &out)
	}
}

// TestDemoLiar has a backend that sends back other bytes than it got: the demo must not say that all is well.
func TestDemoLiar(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	backends := listenTestBackends(t)
	b := backends[1]
	b.listener.Close() // the UDP half stays honest
	stop := serveTest(t, b.addr.String(), func(c net.Conn) {
		fmt.Fprintln(c, b.name)
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err == nil {
			first[0] ^= 1
			c.Write(first)
			io.Copy(c, c)
		}
	})
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out lines
	done := make(chan error, 1)
	go func() { done <- runDemo(ctx, backends, &demoLines{&out}, slog.New(slog.DiscardHandler)) }()
	out.await(t, "failed     backend-b: other bytes came back than were sent\n")
	count := regexp.MustCompile(`connections=(\d+) failed=([1-9]\d*) bytes`)
	someWell := func(m []string) bool { return m[1] != m[2] }
	for give := time.Now().Add(patience); !slices.ContainsFunc(count.FindAllStringSubmatch(out.String(), -1), someWell); time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			t.Fatalf("no count of both:\n%s", &out)
		}
	}
	cancel()
	err := <-done
	if err == nil || !strings.Contains(err.Error(), "connections failed, the first with: backend-b: other bytes came back") {
		t.Errorf("error %v", err)
	}
	n := lastLine(t, out.String())
	if n[1] == 0 || n[1] >= n[0] {
		t.Errorf("%d of %d failed", n[1], n[0])
	}
}

// serveTest serves connections until the function that it returns is called.
func serveTest(t *testing.T, addr string, serve func(net.Conn)) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return func() {
		l.Close()
		<-done
	}
}

// TestDemoHeldEpoch has a session that does not end: the epoch that it holds is told, and goes with it.
func TestDemoHeldEpoch(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	backends := listenTestBackends(t)
	defer backends.serve()()
	zone, err := newDemoZone(backends)
	if err != nil {
		t.Fatal(err)
	}
	defer zone.close()
	ebb, err := startDemoEbb(zone, backends, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ebb.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	before := ebb.pool().Epoch
	zone.set(1)
	for deadline := time.Now().Add(10 * time.Second); ebb.pool().Epoch == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no epoch came of the change")
		}
	}
	left := ebb.rest(time.Millisecond)
	if len(left) != 1 || left[0].ID != before || left[0].Sessions != 1 {
		t.Errorf("left %+v, want epoch %d with one session", left, before)
	}
	c.Close()
	if left := ebb.rest(10 * time.Second); left != nil {
		t.Errorf("left %+v after the session", left)
	}
	if err := ebb.stop(); err != nil {
		t.Error(err)
	}
	if p := ebb.pool(); p.EpochsPublished != p.EpochsReclaimed || len(p.Epochs) > 0 {
		t.Errorf("after the end %+v", p)
	}
}

func TestDemoEpochVerdict(t *testing.T) {
	if err := epochVerdict(nil); err != nil {
		t.Error(err)
	}
	left := retired(admin.Pool{Epochs: []admin.Epoch{{ID: 7, Cause: "dns", Sessions: 1, Retired: true}, {ID: 8, Cause: "dns"}}})
	if err := epochVerdict(left); err == nil || err.Error() != "retired and not reclaimed: epoch 7 (dns) held by 1" {
		t.Error(err)
	}
}

func TestDemoUsage(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"--for 0s", "ebb: demo: --for: found 0s, expected a duration above zero"},
		{"--for -1s", "ebb: demo: --for: found -1s, expected a duration above zero"},
		{"--for 30", `--for: found "30", expected a duration with its unit`},
		{"more", `unexpected argument "more"`},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"demo"}, strings.Fields(test.args)...), &stdout, &stderr)
		if code != exitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%s: exit %d, %s%s", test.args, code, &stdout, &stderr)
		}
	}
}

// TestDemoSteps walks the whole circle: every step changes something and none is empty.
func TestDemoSteps(t *testing.T) {
	backends := listenTestBackends(t)
	defer backends.serve()()
	zone, err := newDemoZone(backends)
	if err != nil {
		t.Fatal(err)
	}
	defer zone.close()
	var changes []string
	for serial := range len(demoSteps) + 1 {
		zone.set(serial)
		a := zone.answer()
		if a.serial != serial || a.change == "" || len(a.records) != 1 || !strings.HasPrefix(a.records[0], "db.demo A 127.0.0.") {
			t.Errorf("%+v", a)
		}
		changes = append(changes, a.change)
	}
	want := []string{"+backend-a +backend-b", "+backend-c", "-backend-a", "+backend-a -backend-b", "-backend-a", "+backend-b -backend-c", "+backend-a"}
	if !slices.Equal(changes, want) {
		t.Errorf("changes %q, want %q", changes, want)
	}
}

// TestDemoCannotStart says what stands in the way.
func TestDemoCannotStart(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	backends := listenTestBackends(t)
	defer backends.serve()()
	backends[0].host = "not a name"
	backends[1].host, backends[2].host = backends[0].host, backends[0].host
	zone, err := newDemoZone(demoBackends{})
	if err != nil {
		t.Fatal(err)
	}
	defer zone.close()
	if _, err := startDemoEbb(zone, backends, slog.New(slog.DiscardHandler)); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
