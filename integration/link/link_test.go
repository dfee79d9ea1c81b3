//go:build linux

package link

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// pair joins two new namespaces, or skips the test where that is forbidden.
func pair(t *testing.T, f Faults) (a, b *Space, l *Link) {
	t.Helper()
	var ends [2]End
	for i, address := range []string{"10.1.0.1/30", "10.1.0.2/30"} {
		s, err := NewSpace()
		if errors.Is(err, os.ErrPermission) && os.Getenv("CI") != "true" {
			t.Skip("needs CAP_SYS_ADMIN: ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		ends[i] = End{s, "link0", netip.MustParsePrefix(address)}
	}
	l, err := Join(ends[0], ends[1], f, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return ends[0].Space, ends[1].Space, l
}

// connect makes a TCP connection through the link.
func connect(t *testing.T, a, b *Space) (client, server net.Conn) {
	t.Helper()
	var ln net.Listener
	if err := b.Do(func() (err error) { ln, err = net.Listen("tcp4", "10.1.0.2:7000"); return err }); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := a.Do(func() (err error) { client, err = net.Dial("tcp4", "10.1.0.2:7000"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// carry sends n bytes and gives whether the same came.
func carry(t *testing.T, from, to net.Conn, n int) {
	t.Helper()
	sent := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(sent)
	go func() { _, _ = from.Write(sent) }()
	got := make([]byte, n)
	if _, err := io.ReadFull(to, got); err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(sent) != sha256.Sum256(got) {
		t.Fatal("the bytes are not those that were sent")
	}
}

func TestFaultsChangeNoByteOfTCP(t *testing.T) {
	a, b, l := pair(t, Faults{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.01, Duplicate: 0.01, Corrupt: 0.01})
	client, server := connect(t, a, b)
	carry(t, client, server, 1<<20)
	carry(t, server, client, 1<<20)
	c := l.Counts()
	t.Logf("%+v", c)
	if c.Carried < 2<<20/MTU || c.Lost == 0 || c.Duplicated == 0 || c.Corrupted == 0 || c.Held != 0 {
		t.Errorf("%+v", c)
	}
}

func TestWithoutFaultsNothingIsLost(t *testing.T) {
	a, b, l := pair(t, Faults{})
	client, server := connect(t, a, b)
	carry(t, client, server, 1<<20)
	if c := l.Counts(); c.Lost+c.Duplicated+c.Corrupted+c.Held != 0 || c.Carried == 0 {
		t.Errorf("%+v", c)
	}
}

func TestDelayIsKept(t *testing.T) {
	const delay = 20 * time.Millisecond
	a, b, _ := pair(t, Faults{Delay: delay})
	client, server := connect(t, a, b)
	begin := time.Now()
	carry(t, client, server, 1)
	if d := time.Since(begin); d < delay {
		t.Errorf("a byte came after %v", d)
	}
}

func TestPartHoldsPacketsBack(t *testing.T) {
	a, b, l := pair(t, Faults{})
	client, server := connect(t, a, b)
	l.Part(true)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for l.Counts().Held == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = server.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := server.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	_ = server.SetReadDeadline(time.Time{})
	l.Part(false)
	got := make([]byte, 1)
	if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, []byte("x")) { // TCP sends it again
		t.Fatalf("%q, %v", got, err)
	}
}

func TestSharesAreChecked(t *testing.T) {
	for _, f := range []Faults{{Loss: 1.5}, {Duplicate: -1}, {Corrupt: 2}, {Delay: -1}, {Jitter: -1}, {Queue: -1}} {
		if _, err := Join(End{}, End{}, f, 1); err == nil {
			t.Errorf("%+v: no error", f)
		}
	}
}

func TestDeviceNamesAreChecked(t *testing.T) {
	a, b, _ := pair(t, Faults{})
	good := End{a, "link1", netip.MustParsePrefix("10.1.1.1/30")}
	for _, bad := range []End{{b, "a name that is too long", netip.MustParsePrefix("10.1.1.2/30")}, {b, "link1", netip.MustParsePrefix("fd00::1/64")}, {b, "link0", netip.MustParsePrefix("10.1.1.2/30")}} {
		if _, err := Join(good, bad, Faults{}, 1); err == nil {
			t.Errorf("%q, %v: no error", bad.Device, bad.Address)
		}
	}
	if _, err := NamedSpace("there is none"); err == nil {
		t.Error("no error")
	}
}
