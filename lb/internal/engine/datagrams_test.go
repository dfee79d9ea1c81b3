//go:build linux && (amd64 || arm64)

package engine

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// newDatagrams gives a ring of this thread.
func newDatagrams(t *testing.T) *Datagrams {
	t.Helper()
	d, err := OpenDatagrams()
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("not here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(d.Free)
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// hears gives a UDP socket and its address.
func hears(t *testing.T) (int, netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFD(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	return fd, sock.LocalAddr(fd)
}

func connected(t *testing.T, to netip.AddrPort) int {
	t.Helper()
	fd, err := sock.Datagram(to, sock.Default, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFD(fd) })
	return fd
}

// turnUntil turns until n things have come, and gives copies.
func turnUntil(t *testing.T, d *Datagrams, n int) (came []Datagram) {
	t.Helper()
	for start := time.Now(); len(came) < n; {
		for _, got := range d.Turn(100 * time.Millisecond) {
			got.Payload = bytes.Clone(got.Payload)
			came = append(came, got)
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%d of %d have come", len(came), n)
		}
	}
	return came
}

func TestDatagramsComeWholeFromAllSockets(t *testing.T) {
	d := newDatagrams(t)
	ear, addr := hears(t)
	d.Take(ear, Listening, 0)
	for i, size := range []int{64, 0, 65507, 1} { // an empty one ends the kernel's receive, which goes on
		fd := connected(t, addr)
		want := bytes.Repeat([]byte{byte(i)}, size)
		if !d.Send(fd, want, 0) {
			t.Fatal("no room")
		}
		got := turnUntil(t, d, 1)[0]
		if got.Kind != Listening || got.Unsent || got.Err != 0 || got.Truncated || !bytes.Equal(got.Payload, want) {
			t.Fatalf("%d bytes: kind %d, %d bytes: %v", size, got.Kind, len(got.Payload), got.Err)
		}
		d.Take(fd, Peer, 7)
		for _, control := range [][]byte{nil, typeOfService()} {
			if !d.Reply(ear, want, got.Name[:], control, 0) {
				t.Fatal("no room")
			}
			back := turnUntil(t, d, 1)[0]
			if back.Kind != Peer || back.Tag != 7 || back.Unsent || back.Err != 0 || !bytes.Equal(back.Payload, want) {
				t.Fatalf("%d bytes: kind %d, tag %d, %d bytes: %v", size, back.Kind, back.Tag, len(back.Payload), back.Err)
			}
		}
		d.Drop(Peer, 7)
	}
}

// typeOfService is a control message that a reply may take along: of the type of service.
func typeOfService() []byte {
	b := make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_TOS
	h.SetLen(unix.CmsgLen(4))
	return b
}

// More than there are buffers: the kernel keeps them until there are some again, and each kind has its own.
func TestDatagramsWaitForBuffers(t *testing.T) {
	d := newDatagrams(t)
	ear, addr := hears(t)
	peer, peerAddr := hears(t)
	flow := connected(t, peerAddr)
	d.Take(ear, Listening, 0)
	d.Take(flow, Peer, 3)
	from := connected(t, addr)
	const n = inboxBuffers + 50
	for i := range n {
		if _, err := unix.Write(from, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Sendto(peer, []byte("reply"), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(sock.LocalAddr(flow).Port())}); err != nil {
		t.Fatal(err)
	}
	next := 0
	replies := 0
	for _, got := range turnUntil(t, d, n+1) {
		if got.Kind == Peer {
			replies++
			continue
		}
		if len(got.Payload) != 1 || got.Payload[0] != byte(next) {
			t.Fatalf("datagram %d is %v", next, got.Payload)
		}
		next++
	}
	if next != n || replies != 1 {
		t.Errorf("%d and %d", next, replies)
	}
}

func TestDatagramsTellWhatIsNotSent(t *testing.T) {
	d := newDatagrams(t)
	gone, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 73)}) // no test has another port there
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	fd := connected(t, sock.AddrPort(gone.LocalAddr()))
	if _, err := unix.Write(fd, []byte("refused")); err != nil {
		t.Fatal(err)
	}
	d.Send(fd, []byte("not sent"), 9) // the refusal is reported on it
	got := turnUntil(t, d, 1)[0]
	if !got.Unsent || got.Kind != Peer || got.Tag != 9 || string(got.Payload) != "not sent" || got.Err != syscall.ECONNREFUSED {
		t.Errorf("%+v", got)
	}
	ear, _ := hears(t)
	var nobody [sock.SockaddrSize]byte
	n := sock.Sockaddr(&nobody, netip.MustParseAddrPort("127.0.0.1:0"))
	d.Reply(ear, []byte("no reply"), nobody[:n], nil, 5)
	got = turnUntil(t, d, 1)[0]
	if !got.Unsent || got.Kind != Listening || got.Tag != 5 || string(got.Payload) != "no reply" || got.Err != syscall.EINVAL {
		t.Errorf("%+v", got)
	}
	d.Take(fd, Peer, 2)
	d.Turn(0)
	if _, err := unix.Write(fd, []byte("refused")); err != nil {
		t.Fatal(err)
	}
	if got = turnUntil(t, d, 1)[0]; got.Unsent || got.Tag != 2 || got.Err != syscall.ECONNREFUSED {
		t.Errorf("%+v", got)
	}
}

// What comes on a dropped socket, or came before the drop, is nobody's, also where its place is taken again.
func TestDroppedSocketsAreNotHeard(t *testing.T) {
	d := newDatagrams(t)
	old, oldAddr := hears(t)
	fresh, freshAddr := hears(t)
	d.Take(old, Peer, 1)
	d.Turn(0)
	for _, addr := range []netip.AddrPort{oldAddr, freshAddr} {
		if _, err := unix.Write(connected(t, addr), []byte(addr.String())); err != nil {
			t.Fatal(err)
		}
	}
	d.Drop(Peer, 1)
	d.Take(fresh, Peer, 1)
	if got := turnUntil(t, d, 1); string(got[0].Payload) != freshAddr.String() || len(got) != 1 {
		t.Errorf("%d came, %q", len(got), got[0].Payload)
	}
	if left := d.inboxes[Peer].left + d.inboxes[Peer].lent.n + len(d.inboxes[Peer].used); left != inboxBuffers {
		t.Errorf("%d buffers of %d are there", left, inboxBuffers)
	}
}

// What is to be sent on a socket that is dropped has been sent when it is closed.
func TestDropSendsBefore(t *testing.T) {
	d := newDatagrams(t)
	peer, addr := hears(t)
	fd, err := sock.Datagram(addr, sock.Default, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	d.Take(fd, Peer, 1)
	d.Turn(0)
	d.Send(fd, []byte("last"), 0)
	d.Drop(Peer, 1)
	closeFD(fd)
	b := make([]byte, 8)
	if n, err := unix.Read(peer, b); err != nil || string(b[:n]) != "last" {
		t.Errorf("%q: %v", b[:max(n, 0)], err)
	}
}

// So has a reply, also where the kernel was never asked for what comes there.
func TestDropRepliesBefore(t *testing.T) {
	for _, armed := range []bool{true, false} {
		d := newDatagrams(t)
		peer, addr := hears(t)
		ear, _ := hears(t)
		d.Take(ear, Listening, 0)
		if armed {
			d.Turn(0)
		}
		var name [sock.SockaddrSize]byte
		d.Reply(ear, []byte("last"), name[:sock.Sockaddr(&name, addr)], nil, 0)
		d.Drop(Listening, 0)
		d.Rest()
		b := make([]byte, 8)
		if n, err := unix.Read(peer, b); err != nil || string(b[:n]) != "last" {
			t.Errorf("armed %v: %q: %v", armed, b[:max(n, 0)], err)
		}
	}
}

// resident is how much of mapped memory the system has given.
func resident(t *testing.T, mem []byte) (pages int) {
	t.Helper()
	each := make([]byte, (len(mem)+os.Getpagesize()-1)/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&each[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, b := range each {
		pages += int(b & 1)
	}
	return pages
}

// What buffers have held takes no memory when nothing has come for a while, and they can be filled again.
func TestQuietBuffersTakeNoMemory(t *testing.T) {
	t.Parallel()
	d := newDatagrams(t)
	ear, addr := hears(t)
	d.Take(ear, Listening, 0)
	from := connected(t, addr)
	want := bytes.Repeat([]byte("large"), 8000)
	for range 2 {
		if _, err := unix.Write(from, want); err != nil {
			t.Fatal(err)
		}
		if got := turnUntil(t, d, 1); !bytes.Equal(got[0].Payload, want) {
			t.Fatalf("%d bytes", len(got[0].Payload))
		}
		if n := resident(t, d.inboxes[Listening].mem); n < len(want)/os.Getpagesize() {
			t.Errorf("%d pages hold it", n)
		}
		for resident(t, d.inboxes[Listening].mem) > 0 {
			d.Turn(-1)
		}
	}
}

// The port of a socket that was armed is free after Rest.
func TestRestLetsGoOfSockets(t *testing.T) {
	for range 20 {
		d := newDatagrams(t)
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 73)})
		if err != nil {
			t.Fatal(err)
		}
		f, err := c.File()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		d.Take(int(f.Fd()), Listening, 0)
		d.Turn(0)
		d.Drop(Listening, 0)
		d.Rest()
		_ = f.Close()
		if c, err = net.ListenUDP("udp4", c.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
}
