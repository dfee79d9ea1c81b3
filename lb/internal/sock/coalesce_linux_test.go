//go:build amd64 || arm64

package sock

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Linux has both halves since 5.0.
func TestStreamsAreCoalescedHere(t *testing.T) {
	if canSegment() && !CanCoalesce() {
		t.Error("what is sent as one does not come as one")
	}
}

// A socket that another process has asked to coalesce hands over one by one, until we ask.
func TestPassedSocketsDoNotCoalesce(t *testing.T) {
	pc, err := ListenUDP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Default)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	f, err := pc.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Coalesce(int(f.Fd())); err != nil {
		t.Skip("not in this kernel:", err)
	}
	passed, err := PassedUDP(f)
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	if on, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_UDP, unix.UDP_GRO); on != 0 || err != nil {
		t.Error(on, err)
	}
}

func TestSegmentSize(t *testing.T) {
	for name, control := range map[string][]byte{"none": nil, "short": make([]byte, 3), "another": make([]byte, unix.CmsgSpace(4)), "garbage": {1: 255, 20: 1}} {
		if n := SegmentSize(control); n != 0 {
			t.Errorf("%s: %d", name, n)
		}
	}
}
