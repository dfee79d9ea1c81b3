//go:build amd64 || arm64

package flow

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// UD-15: what cannot be a client opens no flow, whatever carries. Most of it comes past no kernel, so it is not sent.
func TestUD15ForgedSourcesAreDropped(t *testing.T) {
	conn, err := sock.ListenUDP(t.Context(), localhost, sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	peer, other := bind(t, localhost), bind(t, localhost)
	r := newRigOn(t, conn, Options{IdleTimeout: time.Minute}, peer.addr)
	r.own = other.addr
	for _, tc := range []struct{ client, reason string }{
		{"127.0.0.1:0", "port_zero"},
		{"[::1]:0", "port_zero"},
		{"255.255.255.255:9", "bad_source"},
		{"224.0.0.1:9", "bad_source"},
		{"[ff02::1]:9", "bad_source"},
		{"0.0.0.0:9", "bad_source"},
		{"[::]:9", "bad_source"},
		{other.addr.String(), "own_listener"},
	} {
		before := len(r.drops())
		r.table.send([]byte("x"), key{netip.MustParseAddrPort(tc.client), r.addr})
		if d := r.drops()[before:]; !slices.Equal(d, []string{tc.reason}) {
			t.Errorf("%s: dropped %v, expected %s", tc.client, d, tc.reason)
		}
	}
	before := len(r.drops())
	r.run()
	other.send(r.addr, []byte("x"))
	want := []string{"own_listener"}
	if sendFromPortZero(t, r.addr) {
		want = append(want, "port_zero")
	}
	r.await("the drops", func() bool { return len(r.drops()) == before+len(want) })
	if d := r.drops()[before:]; !slices.Equal(d, want) {
		t.Errorf("dropped %v, expected %v", d, want)
	}
	good := bind(t, localhost)
	exchange(r, good, peer, 1)
	good.recv([]byte{0})
	if n := len(r.opened()); n != 1 {
		t.Errorf("%d flows", n)
	}
}

// sendFromPortZero sends a datagram that nobody can answer; false means that this process may not.
func sendFromPortZero(t *testing.T, to netip.AddrPort) bool {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if errors.Is(err, os.ErrPermission) && os.Getenv("CI") == "" {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	b := make([]byte, 8, 9) // without a checksum
	binary.BigEndian.PutUint16(b[2:], to.Port())
	binary.BigEndian.PutUint16(b[4:], 9)
	if err := unix.Sendto(fd, append(b, 'x'), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	return true
}
