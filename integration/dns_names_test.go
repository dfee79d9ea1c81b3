//go:build linux

package integration

import (
	"io"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

// names describes a pool of names that are asked for often. All peers are on one port, for A records carry none.
func names(dns *dnstest.Server, port uint16, hosts ...string) setup {
	return setup{
		hosts: hosts, port: port, resolver: dns.Addr(),
		backend: "family = \"ipv4\"\nmin_refresh = \"100ms\"", dns: "attempts = 1\ndeadline = \"1s\"",
	}
}

// patient gives the resolver time enough that a busy machine is not taken for a server that does not answer.
const patient = "attempts = 1\nattempt_timeout = \"20s\"\ndeadline = \"20s\""

// signed runs a backend at 127.0.0.n that first says n, in one byte, and then is an echo.
func signed(t *testing.T, n byte, port uint16) *backend {
	t.Helper()
	return greet(t, at(n, port), string([]byte{n}))
}

// servedBy is one short session. It tells which backend served it.
func servedBy(addr netip.AddrPort) (n byte, err error) {
	c, err := dialFrom(netip.AddrPort{}, addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.sign()
}

// sign reads which backend serves.
func (c client) sign() (n byte, err error) {
	b := make([]byte, 1)
	_, err = io.ReadFull(c, b)
	return b[0], err
}

// dialSigned opens a session that stays. It tells which backend serves it.
func dialSigned(t *testing.T, addr netip.AddrPort) (c client, n byte) {
	t.Helper()
	c = dial(t, addr)
	return c, c.recv(t, 1)[0]
}

// traffic is short sessions at a steady rate.
type traffic struct {
	quit func()

	mu     sync.Mutex
	served []visit
	failed []error
}

type visit struct {
	began time.Time
	by    byte
}

// drive begins traffic. It ends with stop, or with the test.
func drive(t *testing.T, addr netip.AddrPort, rate int) *traffic {
	t.Helper()
	const clients = 4
	f := new(traffic)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			tick := time.NewTicker(time.Second * clients / time.Duration(rate))
			defer tick.Stop()
			for {
				select {
				case <-quit:
					return
				case <-tick.C:
				}
				began := time.Now()
				n, err := servedBy(addr)
				f.mu.Lock()
				if err != nil {
					f.failed = append(f.failed, err)
				} else {
					f.served = append(f.served, visit{began, n})
				}
				f.mu.Unlock()
			}
		})
	}
	f.quit = sync.OnceFunc(func() { close(quit); wg.Wait() })
	t.Cleanup(f.quit)
	return f
}

// count is how many sessions there were so far.
func (f *traffic) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.served) + len(f.failed)
}

// stop ends the traffic. Not one session may have failed.
func (f *traffic) stop(t *testing.T) {
	t.Helper()
	f.quit()
	if len(f.failed) > 0 {
		t.Errorf("%d of %d sessions failed, the first with %v", len(f.failed), f.count(), f.failed[0])
	}
	if len(f.served) == 0 {
		t.Error("there was no traffic")
	}
}

// by counts who has served the sessions that began at a time or later.
func (f *traffic) by(from time.Time) map[byte]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := make(map[byte]int)
	for _, v := range f.served {
		if !v.began.Before(from) {
			count[v.by]++
		}
	}
	return count
}

// sorted gives who served.
func sorted(count map[byte]int) []byte { return slices.Sorted(maps.Keys(count)) }

// name gives what ebb says about a name and type; false before the first answer.
func (e *ebb) name(t *testing.T, name, typ string) (nameStatus, bool) {
	t.Helper()
	for _, n := range e.status(t).DNS {
		if n.Name == name && n.Type == typ {
			return n, true
		}
	}
	return nameStatus{}, false
}

// awaitKind waits until the last answer for a name and type is of a kind.
func (e *ebb) awaitKind(t *testing.T, name, typ, kind string) {
	t.Helper()
	eventually(t, name+" "+typ+" to be "+kind, func() bool {
		n, ok := e.name(t, name, typ)
		return ok && n.Kind == kind
	})
}

// removals gives for each peer when an epoch without it was last published, by the log.
func (e *ebb) removals(t *testing.T) map[string]time.Time {
	t.Helper()
	at := make(map[string]time.Time)
	for _, r := range e.logs.find("epoch") {
		when, err := time.Parse(time.RFC3339Nano, r.text("time"))
		if err != nil {
			t.Fatal(err)
		}
		list, _ := r["removed"].([]any)
		for _, addr := range list {
			at[addr.(string)] = when
		}
	}
	return at
}

// awaitAnswers waits until a name's A has been asked for n times more, and the answers before the last have arrived: the
// next question waits for them.
func awaitAnswers(t *testing.T, dns *dnstest.Server, name string, n int) {
	t.Helper()
	n += dns.QueryCount(name, "A") + 1
	eventually(t, "more answers", func() bool { return dns.QueryCount(name, "A") >= n })
}
