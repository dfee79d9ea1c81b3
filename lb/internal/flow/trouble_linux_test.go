//go:build amd64 || arm64

package flow

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// withFD calls use with the descriptor of a flow's socket.
func (f *Flow) withFD(use func(fd int)) {
	if f.served == nil {
		use(int(f.looped.fd))
		return
	}
	raw, _ := f.server.SyscallConn()
	_ = raw.Control(func(fd uintptr) { use(int(fd)) })
}

// withEar calls use with the descriptor of the listening socket.
func (r *rig) withEar(use func(fd int)) {
	if l, ok := r.table.carrier.(*loop); ok {
		use(l.fd)
		return
	}
	raw, _ := r.table.conn.SyscallConn()
	_ = raw.Control(func(fd uintptr) { use(int(fd)) })
}

// instead puts another file in the place of a descriptor until restore is called.
func instead(t *testing.T, with func(func(int)), other int) (restore func()) {
	t.Helper()
	kept := -1
	with(func(fd int) {
		var err error
		if kept, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.Dup3(other, fd, unix.O_CLOEXEC)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	return func() {
		with(func(fd int) {
			if err := errors.Join(unix.Dup3(kept, fd, unix.O_CLOEXEC), unix.Close(kept)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// fullSocket is one that takes no more: EAGAIN.
func fullSocket(t *testing.T) int {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(pair[0]), unix.Close(pair[1]) })
	for err == nil {
		err = unix.Send(pair[0], []byte("x"), 0)
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	return pair[0]
}

// aimlessSocket is one that is not connected: EDESTADDRREQ.
func aimlessSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// What the kernel does not take is dropped for a reason, either way. The flow goes on, and nobody else notices.
func TestWhatTheKernelRefusesIsDropped(t *testing.T) {
	for name, refusing := range map[string]func(*testing.T) int{"full": fullSocket, "aimless": aimlessSocket} {
		t.Run(name, func(t *testing.T) {
			peer, c, other := bind(t, localhost), bind(t, localhost), bind(t, localhost)
			r := newRig(t, localhost, time.Minute, peer.addr)
			from := exchange(r, c, peer, 1)
			c.recv([]byte{0})
			f := r.opened()[0].flow
			for _, n := range []int{1, 3} {
				before := len(r.drops())
				restore := instead(t, f.withFD, refusing(t))
				for range n {
					c.send(r.addr, []byte("lost"))
				}
				r.await("the drops", func() bool { return len(r.drops()) == before+n })
				exchange(r, other, peer, 1)
				other.recv([]byte{0})
				restore()
				if d := slices.Compact(r.drops()[before:]); !slices.Equal(d, []string{"send"}) {
					t.Errorf("dropped for %v", d)
				}
			}
			if again := exchange(r, c, peer, 1); again != from {
				t.Errorf("came from %v, before from %v", again, from)
			}
			c.recv([]byte{0})

			before := len(r.drops())
			restore := instead(t, r.withEar, fullSocket(t)) // EINVAL: it is of another family
			peer.send(from, []byte("lost"))
			r.await("the drop", func() bool { return len(r.drops()) == before+1 })
			restore()
			if d := r.drops()[before:]; !slices.Equal(d, []string{"reply"}) {
				t.Errorf("dropped for %v", d)
			}
			for _, e := range []endpoint{c, other} {
				exchange(r, e, peer, 1)
				e.recv([]byte{0})
			}
			if n := len(r.opened()); n != 2 {
				t.Errorf("%d flows", n)
			}
		})
	}
}

// fragmentationNeeded sends what a router says that cannot pass on a datagram of a flow: ICMP, RFC 1191. The size is one that
// changes nothing on this host.
func fragmentationNeeded(t *testing.T, from, to netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if errors.Is(err, os.ErrPermission) && os.Getenv("CI") == "" {
		t.Skip("needs CAP_NET_RAW: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	b := make([]byte, 8+20+8)
	b[0], b[1] = 3, 4
	binary.BigEndian.PutUint16(b[6:], 65535)
	ip, udp := b[8:], b[28:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], 28)
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], 8)
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum>>16+sum))
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: src}); err != nil {
		t.Fatal(err)
	}
}

// A router that cannot pass on a datagram costs that datagram, which is counted, and nothing else: neither the flow nor what is
// sent next, on which the kernel reports it if the loop has not heard of it before.
func TestPathMTUErrorsAreCounted(t *testing.T) {
	for _, n := range []int{0, 1, 10} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			peer, c := bind(t, netip.MustParseAddrPort("127.77.0.1:0")), bind(t, localhost)
			r := newRig(t, localhost, time.Minute, peer.addr)
			c.send(r.addr, []byte("hello"))
			upstream := peer.recv([]byte("hello"))
			if n > 0 { // the carrier stands still until all are there, and again when it has taken them
				r.stalled[Out].Lock()
				peer.send(upstream, []byte("reply"))
				r.await("a stop", func() bool { return r.calls[Out].Load() == 1 })
				r.stalled[In].Lock()
				for i := range n {
					c.send(r.addr, []byte{byte(i)})
				}
				r.stalled[Out].Unlock()
				r.await("another", func() bool { return r.calls[In].Load() == 2 })
			}
			fragmentationNeeded(t, upstream, peer.addr)
			if n > 0 {
				r.stalled[In].Unlock()
				c.recv([]byte("reply"))
			}
			for i := range n {
				peer.recv([]byte{byte(i)})
			}
			r.await("the count", func() bool { return len(r.drops()) > 0 })
			exchange(r, c, peer, 1)
			c.recv([]byte{0})
			if d := r.drops(); !slices.Equal(d, []string{"pmtu"}) {
				t.Errorf("dropped %v", d)
			}
			if d := r.opened(); len(d) != 1 {
				t.Errorf("%d flows", len(d))
			}
		})
	}
}

// Without a port to send from there is no new flow, and those that live go on. The peer is not to blame.
func TestOutOfPortsRefusesNewFlows(t *testing.T) {
	dial := &sock.Options{Source: sock.Source{First: 41000, Last: 41001}}
	if missing := dial.Probe(false, false, false); len(missing) > 0 {
		t.Skip("not here: ", missing[0])
	}
	peer := bind(t, localhost)
	r := newRigOf(t, localhost, Options{IdleTimeout: time.Minute, Dial: dial}, peer.addr)
	const clients = 5
	var live []endpoint
	for range clients {
		c := bind(t, localhost)
		before := len(r.drops())
		c.send(r.addr, []byte("x"))
		connected := func() bool {
			d := r.opened()
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(d) > 0 && d[len(d)-1].flow.Client == c.addr && d[len(d)-1].connected > 0
		}
		r.await("a flow or a drop", func() bool { return connected() || len(r.drops()) > before })
		if connected() {
			live = append(live, c)
			peer.recv([]byte("x"))
		}
	}
	if len(live) > 2 {
		t.Errorf("%d flows from 2 ports", len(live)) // others may hold some of them
	}
	for _, c := range live {
		exchange(r, c, peer, 1)
		c.recv([]byte{0})
	}
	for _, d := range r.opened() {
		r.mu.Lock()
		for _, err := range d.failed {
			if sock.Classify(err) != sock.NoSourcePort {
				t.Errorf("%v is taken for %v", err, sock.Classify(err))
			}
		}
		r.mu.Unlock()
	}
}
