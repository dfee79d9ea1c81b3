//go:build amd64 || arm64

package flow

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// What waits in the socket comes with one system call, in order, whatever flows it is of.
func TestBatchesAreBatches(t *testing.T) {
	if carried == "portable" {
		t.Skip("the portable carrier takes them one by one")
	}
	conn, err := sock.ListenUDP(t.Context(), localhost, sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	peer := bind(t, localhost)
	r := newRigOn(t, conn, Options{IdleTimeout: time.Minute}, peer.addr)
	clients := []endpoint{bind(t, localhost), bind(t, localhost), bind(t, localhost)}
	for i := range batch {
		clients[i%3].send(r.addr, []byte{byte(i)})
	}
	r.run()
	seen := make(map[byte]byte) // the last of each client
	for range batch {
		b := make([]byte, 8)
		peer.SetReadDeadline(time.Now().Add(patience))
		if n, err := peer.Read(b); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if last, ok := seen[b[0]%3]; ok && last+3 != b[0] || !ok && b[0] >= 3 {
			t.Errorf("%d comes after %d", b[0], last)
		}
		seen[b[0]%3] = b[0]
	}
	if got, calls := r.received[In].Load(), r.calls[In].Load(); got != batch || calls != 1 {
		t.Errorf("%d datagrams with %d calls", got, calls)
	}
	if n := len(r.opened()); n != 3 {
		t.Errorf("%d flows", n)
	}
}

// A stream of one flow goes as one message each way, and arrives as it was.
func TestStreamsAreJoined(t *testing.T) {
	if carried == "portable" {
		t.Skip("the portable carrier sends them one by one")
	}
	conn, err := sock.ListenUDP(t.Context(), localhost, sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRigOn(t, conn, Options{IdleTimeout: time.Minute}, peer.addr)
	const n = 20
	sent := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1000-500*(i/(n-1))) } // the last is shorter
	for i := range n {
		c.send(r.addr, sent(i))
	}
	r.run()
	var upstream netip.AddrPort
	for i := range n {
		upstream = peer.recv(sent(i))
	}
	r.stalled[Out].Lock()
	for i := range n {
		peer.send(upstream, sent(i))
	}
	r.stalled[Out].Unlock()
	for i := range n {
		c.recv(sent(i))
	}
	if got := r.joined[In].Load(); got != n-1 {
		t.Errorf("%d requests were joined, want %d", got, n-1)
	}
	r.await("joined replies", func() bool { return r.joined[Out].Load() >= n-2 }) // the first may have come alone
	if calls := r.calls[Out].Load(); calls > n/2 {
		t.Errorf("%d replies with %d calls", n, calls)
	}
}

// What is said of a datagram has no room either: it is dropped, and the next one passes.
func TestTruncatedDatagramsAreDropped(t *testing.T) {
	if carried == "portable" {
		t.Skip("the portable carrier looks at what it needs of that only")
	}
	conn, err := sock.ListenUDP(t.Context(), localhost, sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRigOn(t, conn, Options{IdleTimeout: time.Minute}, peer.addr)
	talkative := func(on int) {
		r.withEar(func(fd int) {
			var errs []error
			for _, option := range []int{unix.IP_PKTINFO, unix.IP_RECVTTL, unix.IP_RECVTOS, unix.IP_RECVORIGDSTADDR} {
				errs = append(errs, unix.SetsockoptInt(fd, unix.IPPROTO_IP, option, on))
			}
			errs = append(errs, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, on),
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, on*(unix.SOF_TIMESTAMPING_RX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE)))
			if err := errors.Join(errs...); err != nil {
				t.Error(err)
			}
		})
	}
	r.run()
	c.send(r.addr, []byte("one"))
	peer.recv([]byte("one"))
	talkative(1)
	c.send(r.addr, []byte("two"))
	r.await("a drop", func() bool { return slices.Equal(r.drops(), []string{"too_big"}) })
	talkative(0)
	c.send(r.addr, []byte("three"))
	peer.recv([]byte("three"))
}

// A socket that has brought a stream takes the next one as one message, which is cut up as it was.
func TestStreamsComeAsOne(t *testing.T) {
	if carried == "portable" || !sock.CanCoalesce() {
		t.Skip("the portable carrier takes them one by one, and so do old kernels")
	}
	conn, err := sock.ListenUDP(t.Context(), localhost, sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRigOn(t, conn, Options{IdleTimeout: time.Minute}, peer.addr)
	const n = 60
	sent := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1000-500*(i/(n-1))) } // the last is shorter
	stream := func(from endpoint, to netip.AddrPort) {
		v := sock.NewVector(n)
		var name [sock.SockaddrSize]byte
		size := sock.Sockaddr(&name, to)
		for i := range n {
			v.Add(sent(i), name[:size], nil, i > 0)
		}
		raw, err := from.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err = raw.Control(func(fd uintptr) {
			if got, err := v.Send(int(fd)); got != n || err != nil {
				t.Errorf("sent %d: %v", got, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	stream(c, r.addr)
	r.run()
	var upstream netip.AddrPort
	for turn := range 2 {
		if turn > 0 {
			stream(c, r.addr)
		}
		for i := range n {
			upstream = peer.recv(sent(i))
		}
	}
	for range 2 {
		r.stalled[Out].Lock()
		stream(peer, upstream)
		r.stalled[Out].Unlock()
		for i := range n {
			c.recv(sent(i))
		}
	}
	for d, name := range []string{In: "in", Out: "out"} {
		if got := r.coalesced[d].Load(); got != n-1 {
			t.Errorf("%s: %d have come with others, want %d", name, got, n-1)
		}
	}
	if d := r.drops(); len(d) > 0 {
		t.Errorf("dropped %v", d)
	}
}

// A refusal that is reported on what is sent next: that goes on in another flow, in order.
func TestUD7RefusalMeetsABatch(t *testing.T) {
	if carried == "portable" {
		t.Skip("the portable carrier has none")
	}
	for _, n := range []int{1, 10} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			old, peer, c := bind(t, localhost), bind(t, localhost), bind(t, localhost)
			r := newRig(t, localhost, time.Minute, old.addr, peer.addr)
			c.send(r.addr, []byte("hello"))
			upstream := old.recv([]byte("hello"))
			fd := int(r.opened()[0].flow.looped.fd)
			// The loop stands still until all are there, and again when it has taken them.
			r.stalled[Out].Lock()
			old.send(upstream, []byte("reply"))
			r.await("a stop", func() bool { return r.calls[Out].Load() == 1 })
			for i := range n {
				c.send(r.addr, []byte{byte(i)})
			}
			r.stalled[In].Lock()
			r.stalled[Out].Unlock()
			r.await("another", func() bool { return r.calls[In].Load() == 2 })
			old.Close()
			if _, err := unix.Write(fd, []byte("lost")); err != nil { // its refusal comes at once
				t.Fatal(err)
			}
			r.stalled[In].Unlock()
			c.recv([]byte("reply"))
			for i := range n {
				peer.recv([]byte{byte(i)})
			}
			r.end(0, end.ServerReset)
			d := r.opened()
			if len(d) != 2 || d[1].flow.Avoid() != old.addr {
				t.Fatalf("%d flows", len(d))
			}
			r.await("the counts", func() bool { return d[0].flow.In.Load() == 5 && d[1].flow.In.Load() == int64(n) })
		})
	}
}
