package preface

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

const sig = "\r\n\r\n\x00\r\nQUIT\n"

func TestPP1PP2Format(t *testing.T) {
	for _, c := range []struct{ client, local, v1, v2 string }{
		{"192.0.2.1:1234", "198.51.100.2:5432", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 5432\r\n",
			sig + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x15\x38"},
		{"[2001:db8::1]:1", "[fe80::2%eth0]:65535", "PROXY TCP6 2001:db8::1 fe80::2 1 65535\r\n",
			sig + "\x21\x21\x00\x24 \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\xff\xff"},
		{"192.0.2.1:1", "[2001:db8::1]:2", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n",
			sig + "\x21\x21\x00\x24\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01 \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00\x02"},
	} {
		client, local := netip.MustParseAddrPort(c.client), netip.MustParseAddrPort(c.local)
		for version, want := range map[byte]string{1: c.v1, 2: c.v2} {
			got := Format(version, client, local)
			if string(got) != want {
				t.Errorf("v%d of %s: %q, want %q", version, c.client, got, want)
			}
			h, n, err := Parse(append(got, "payload"...))
			if err != nil || n != len(got) || h.Client != client || h.Local.Addr() != local.Addr().WithZone("") || h.Local.Port() != local.Port() {
				t.Errorf("v%d of %s: read back as %v, %d bytes, %v", version, c.client, h, n, err)
			}
		}
	}
	if got := Format(1, netip.AddrPort{}, netip.AddrPort{}); string(got) != "PROXY UNKNOWN\r\n" {
		t.Errorf("v1 of nobody: %q", got)
	}
	if got := Format(2, netip.AddrPort{}, netip.AddrPort{}); string(got) != sig+"\x20\x00\x00\x00" {
		t.Errorf("v2 of nobody: %q", got)
	}
}

func TestPP3EveryPartOfAHeaderWantsMore(t *testing.T) {
	for _, whole := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 1234 5432\r\n",
		sig + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x15\x38",
	} {
		for i := range len(whole) {
			if h, n, err := Parse([]byte(whole[:i])); n != 0 || err != nil || h != (Header{}) {
				t.Errorf("%d bytes of %q: %v, %d, %v", i, whole, h, n, err)
			}
		}
	}
}

// v2 is a header of version 2.
func v2(command, family byte, rest string) string {
	return sig + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

const v4 = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x15\x38"

func TestPP5PP6PP7WhatIsNoHeader(t *testing.T) {
	for _, bad := range []string{
		"GET / HTTP/1.1\r\n", "P\r\n", "PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n", "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 +80 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 080 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", "PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
		"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY UNKNOWN" + strings.Repeat(" ", 93) + "\r\n", strings.Repeat("PROXY ", 30), "\r\n\r\n\x00\r\nQUIT ",
		v2(0x23, 0x11, v4), v2(0x11, 0x11, v4), v2(0x29, 0x11, v4), v2(0x21, 0x13, v4), v2(0x21, 0x01, v4), v2(0x21, 0x41, v4),
		v2(0x21, 0x11, v4[1:]), v2(0x21, 0x21, v4), v2(0x21, 0x11, v4+"\x04"), v2(0x21, 0x11, v4+"\x04\x00\x05ab"),
		v2(0x21, 0x11, v4+strings.Repeat("a", 4085)), v2(0x20, 0x00, strings.Repeat("a", 65535)),
	} {
		if h, n, err := Parse([]byte(bad)); err == nil || n != 0 || h != (Header{}) {
			t.Errorf("%q: taken for %v, %d bytes", bad, h, n)
		}
	}
}

func TestPP6PP12WhoIsNotNamed(t *testing.T) {
	for _, c := range []string{
		"PROXY UNKNOWN\r\n", "PROXY UNKNOWN" + strings.Repeat(" x", 46) + "\r\n", v2(0x20, 0x00, ""), v2(0x20, 0x11, ""), v2(0x20, 0x11, v4),
		v2(0x21, 0x00, ""), v2(0x21, 0x00, "whatever"), v2(0x21, 0x31, strings.Repeat("\x00", 216)),
	} {
		h, n, err := Parse([]byte(c + "payload"))
		if err != nil || n != len(c) || h != (Header{}) {
			t.Errorf("%q: %v, %d bytes of %d, %v", c, h, n, len(c), err)
		}
	}
	tlvs := v2(0x21, 0x11, v4+"\x05\x00\x03abc"+"\x04\x00\x00"+"\xe0\x0f\xe8"+strings.Repeat("a", 4072))
	if len(tlvs) != Max {
		t.Fatalf("%d bytes", len(tlvs))
	}
	if h, n, err := Parse([]byte(tlvs)); err != nil || n != Max || h.Client.String() != "192.0.2.1:1234" {
		t.Errorf("with TLVs: %v, %d bytes, %v", h, n, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 1234 5432\r\nmore"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2(0x21, 0x11, v4+"\x05\x00\x03abc")))
	f.Add([]byte(v2(0x20, 0x21, "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		switch {
		case err != nil && (n != 0 || h != Header{}), n > min(len(b), Max):
			t.Fatalf("%v, %d bytes, %v", h, n, err)
		case err == nil && n == 0 && len(b) >= Max:
			t.Fatal("wants more than there may be")
		case n > 0 && h.Client.IsValid():
			for version := byte(1); version <= 2; version++ {
				again, _, err := Parse(Format(version, h.Client, h.Local))
				if err != nil || again != h {
					t.Fatalf("%v is read back as %v, %v", h, again, err)
				}
			}
		}
		if n > 0 { // what follows changes nothing
			if again, m, err := Parse(bytes.Clone(b[:n])); err != nil || m != n || again != h {
				t.Fatalf("alone: %v, %d bytes, %v", again, m, err)
			}
		}
	})
}
