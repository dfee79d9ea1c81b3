//go:build linux

package integration

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

// failing is ebb whose system calls fail as an expression of strace's --inject says.
func failing(t *testing.T, inject string) place {
	t.Helper()
	call, _, _ := strings.Cut(inject, ":")
	// -D: the process that was started becomes ebb, and strace its grandchild. --seccomp-bpf: only this call is slow.
	return place{under: []string{program(t, "strace"), "-D", "-f", "-qqq", "--seccomp-bpf", "-e", "trace=" + call, "-e", "signal=none", "-e", "inject=" + inject, "-o", "/dev/null"}}
}

// TestLI5FailedCallsOfListeners has the first accepts of each thread fail, those of the admin address too; then all is
// as before.
func TestLI5FailedCallsOfListeners(t *testing.T) {
	for _, c := range []struct{ inject, reason string }{
		{"accept4:error=ENFILE:when=1..3", "enfile"},
		{"accept4:error=ENOMEM:when=1..3", "enomem"},
		{"accept4:error=ENOBUFS:when=1..3", "enobufs"},
		{"accept4:error=ECONNABORTED:when=1..3", ""},
	} {
		t.Run(c.inject, func(t *testing.T) {
			b := echo(t, at(2, freePort(t)))
			e := start(t, setup{place: failing(t, c.inject), plain: true, hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine("epoll")})
			for range 4 {
				if err := talk(e.addr); err != nil {
					t.Fatal(err)
				}
			}
			oracle(t, e, b)
			n := e.metrics(t).sum("ebb_accept_errors_total")
			if c.reason == "" && n != 0 || c.reason != "" && (n < 1 || e.metrics(t).sum("ebb_accept_errors_total", label("reason", c.reason)) != n) {
				t.Errorf("counted %v", e.metrics(t).pick("ebb_accept_errors_total"))
			}
		})
	}
}

// TestLI5FailedCallsOfBulk has calls fail by which bulk moves. Where nothing has been moved yet, copying takes over and
// every byte arrives. A stream of which bytes are stuck in the kernel is cut, which both sides see as an abort: it never ends
// as if it were whole.
func TestLI5FailedCallsOfBulk(t *testing.T) {
	const size = 8 << 20
	for _, c := range []struct {
		inject string
		whole  bool
	}{
		{"pipe2:error=EMFILE:when=1+", true},
		{"pipe2:error=ENFILE:when=1+2", true},
		{"splice:error=EINVAL:when=1", true},
		{"splice:error=ENOSYS:when=1+", true},
		{"splice:error=ENOMEM:when=1", true},
		{"splice:error=EINTR:when=2+3", true},
		{"splice:error=EAGAIN:when=2+5", true},
		{"splice:error=ENOMEM:when=4", false},
		{"splice:error=EINVAL:when=5", false},
		{"splice:error=EPIPE:when=6", false},
	} {
		for _, engine := range []string{"uring", "epoll"} {
			if engine == "epoll" && strings.Contains(c.inject, "EAGAIN") {
				continue // a socket of which the kernel says so has an edge to come, and one that a tracer says it of has not
			}
			t.Run(engine+"/"+c.inject, func(t *testing.T) {
				far := make(chan half, 1)
				b := serve(t, at(2, freePort(t)), func(p peerConn) { far <- bySHA256.trade(p, p.CloseWrite, 1, size) })
				e := start(t, setup{place: failing(t, c.inject), plain: true, hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine(engine)})
				cl, err := dialFrom(netip.AddrPort{}, e.addr)
				near := half{err: err} // the server is the first to send: the cut may come before the client knows that it is connected
				if err == nil {
					near = bySHA256.trade(cl, cl.CloseWrite, 2, size)
					cl.Close()
				}
				other := <-far
				switch err := errors.Join(near.err, other.err); {
				case err == nil && (near.sent != other.got || other.sent != near.got):
					t.Errorf("%d and %d bytes came and are not those that were sent", near.n, other.n)
				case err != nil && c.whole:
					t.Error(err)
				case err != nil && !(cutOff(near.err) && cutOff(other.err)):
					t.Errorf("one side was not told: client %v, server %v", near.err, other.err)
				}
				oracle(t, e)
			})
		}
	}
}

func cutOff(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// TestLI5FailedCallsOfSessions has a session's own calls fail: it ends with a reason, and the next is served.
func TestLI5FailedCallsOfSessions(t *testing.T) {
	for _, c := range []struct{ inject, end, attempt string }{
		{"connect:error=EADDRNOTAVAIL:when=1", "no_source_port", "no_source_port"},
		{"connect:error=ENOBUFS:when=1", "internal", "no_resources"},
		{"connect:error=ENOMEM:when=1", "internal", "no_resources"},
	} {
		t.Run(c.inject, func(t *testing.T) {
			b := echo(t, at(2, freePort(t)))
			e := start(t, setup{ // one loop, for the calls of each thread are counted, and the next session is to be of the same
				place: failing(t, c.inject), plain: true, hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine("epoll") + "loops = 1",
			})
			e.wantRefusal(t)
			if s := e.oneSession(t); s.End != c.end || !strings.Contains(s.Attempts, " "+c.attempt+" ") {
				t.Errorf("%+v", s)
			}
			if p, ok := e.poolStatus(t).peer(b.addr.String()); !ok || p.State != "up" {
				t.Errorf("the peer is blamed: %+v", p)
			}
			if err := talk(e.addr); err != nil {
				t.Error(err)
			}
			oracle(t, e, b)
		})
	}
}
