package check

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A connect that nobody answers ends with its time; those of others do not wait for it.
func TestTCPProbeWithoutAnAnswer(t *testing.T) {
	for way, ask := range ways {
		r := ask(t, Options{Kind: "tcp", Timeout: 200 * time.Millisecond}, crowded(t))
		if r.Alive || r.Reason != Timeout || r.Detail == "" {
			t.Errorf("%s: %+v", way, r)
		}
	}
}

// Who is asked no more keeps no descriptor, not even while its connect has all the time in the world; the probes of others
// go on.
func TestTCPProbeEndsWithItsWatch(t *testing.T) {
	h := NewHub()
	defer h.Close()
	o := Options{Kind: "tcp", Interval: 50 * time.Millisecond, FastInterval: 50 * time.Millisecond, Timeout: time.Hour, Fall: 1, Rise: 1}
	connects := make(chan struct{}, 1000)
	other, err := h.Watch(listen(t, func(net.Conn) { connects <- struct{}{} }), o, 0, func(State) {})
	if err != nil {
		t.Fatal(err)
	}
	stuck := crowded(t)
	w, err := h.Watch(stuck, o, 0, func(s State) { t.Errorf("heard %+v", s) })
	if err != nil {
		t.Fatal(err)
	}
	connecting := func() bool { return connectsTo(t, stuck) > 0 }
	patiently(t, "the connect to begin", connecting)
	for range 5 {
		<-connects
	}
	w.Close()
	patiently(t, "the connect to be given up", func() bool { return !connecting() })
	for range len(connects) + 3 {
		<-connects
	}
	if r, ok := other.Last(); !ok || !r.Alive {
		t.Errorf("%+v", r)
	}
}

// crowded is the address of a server that accepts nobody, with no room left for who waits: the kernel passes connects over.
func crowded(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		t.Cleanup(func() { _ = syscall.Close(fd) })
		if err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
			err = syscall.Listen(fd, 0)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*syscall.SockaddrInet4).Port))
	c, err := net.Dial("tcp4", at.String()) // who waits
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	patiently(t, "the room to be taken", func() bool { // the last packet of the handshake may be on its way still
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err == nil && info.Unacked > 0 // of a socket that listens: who waits to be accepted
	})
	return at
}

// connectsTo counts the sockets of this host that wait for an answer of an address.
func connectsTo(t *testing.T, at netip.AddrPort) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const synSent = " 02 "
	return strings.Count(string(text), fmt.Sprintf(" 0100007F:%04X%s", at.Port(), synSent))
}
