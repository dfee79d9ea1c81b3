//go:build linux && (amd64 || arm64)

package engine

import "testing"

// TestRoomIsLeftForThousandsOfBlockedStreams fills one queue after the other, as streams do whose sinks are blocked.
func TestRoomIsLeftForThousandsOfBlockedStreams(t *testing.T) {
	o := Options{}.withDefaults()
	p, err := mapBuffers(o.Buffers, o.BufferSize)
	if err != nil {
		t.Fatal(err)
	}
	defer p.unmap()
	if n := p.room(); n != maxQueued {
		t.Errorf("room for %d at first, want %d", n, maxQueued)
	}
	streams, atThousand := 0, 0
	for p.left > 0 {
		for n := p.room(); n > 0 && p.left > 0; n-- {
			p.take()
		}
		if streams++; streams == 1000 {
			atThousand = o.Buffers - p.left
		}
	}
	t.Logf("%d streams; 1000 of them hold %d MiB", streams, atThousand*o.BufferSize>>20)
	if streams < 5000 || atThousand*o.BufferSize > 65<<20 {
		t.Errorf("%d streams, 1000 of them hold %d MiB", streams, atThousand*o.BufferSize>>20)
	}
}
