//go:build linux

package integration

import (
	"encoding/binary"
	"errors"
	"flag"
	"hash"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var hashedGiB = flag.Int64("hashed", 0, "GiB that are moved and verified on each engine; 0 is a quarter of one")

// bySeed is a hash of 64 bits with a seed of this run. It costs a sixth of SHA-256, which would take more CPU than the sessions do.
var bySeed digest = func() hash.Hash {
	h := new(maphash.Hash)
	h.SetSeed(ofThisRun)
	return h
}

var ofThisRun = maphash.MakeSeed()

// order is how a client of TestHashedMix begins: what the peer is to send, and how much of it.
type order struct{ Seed, Size uint64 }

// deal is one session: both sides send, read to the end, and compare what came with what was sent. A client may be narrow: it has little room for what comes.
func deal(t *testing.T, e *ebb, results *sync.Map, o order, up int64, narrow bool) (moved int64, err error) {
	c, err := dialFrom(at(byte(100+o.Seed%8), 0), e.addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	done := make(chan half, 1)
	results.Store(o.Seed, done)
	defer results.Delete(o.Seed)
	if err := c.SetDeadline(time.Time{}); err != nil {
		return 0, err
	}
	if narrow {
		if err := c.SetReadBuffer(256 << 10); err != nil {
			return 0, err
		}
	}
	if err := binary.Write(c, binary.LittleEndian, o); err != nil {
		return 0, err
	}
	near := bySeed.trade(c, c.CloseWrite, ^o.Seed, up)
	var far half
	select {
	case far = <-done:
	case <-time.After(patience): // it was not reached
		return 0, errors.Join(near.err, errors.New("the peer does not end"))
	}
	switch err := errors.Join(near.err, far.err); {
	case err != nil:
		return 0, err
	case near.n != int64(o.Size) || far.n != up || near.sent != far.got || far.sent != near.got:
		return 0, errors.New("the bytes that came are not those that were sent")
	}
	return near.n + far.n, nil
}

// TestHashedMix moves so many bytes through sessions of all sizes, from a byte to half a GiB, both ways at once, some with narrow
// clients, eight at a time, and verifies each stream by its hash.
func TestHashedMix(t *testing.T) {
	total := *hashedGiB << 30
	if total == 0 {
		total = 1 << 28
	}
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			var results sync.Map
			b := serve(t, at(2, freePort(t)), func(c peerConn) {
				var o order
				if binary.Read(struct{ io.Reader }{c}, binary.LittleEndian, &o) != nil {
					return
				}
				if done, ok := results.Load(o.Seed); ok {
					done.(chan half) <- bySeed.trade(c, c.CloseWrite, o.Seed, int64(o.Size))
				}
			})
			e := start(t, setup{plain: true, hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine(engine)})
			var moved, sessions atomic.Int64
			var wg sync.WaitGroup
			begin := time.Now()
			for worker := range uint64(8) {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(seed, worker))
					size := func() int64 { // as many of each order of magnitude, up to a 16th of the whole
						most := min(total/16, 1<<29)
						return 1 + r.Int64N(min(most, 1<<r.IntN(30)))
					}
					for n := uint64(0); moved.Load() < total && !t.Failed(); n++ {
						got, err := deal(t, e, &results, order{Seed: n<<3 | worker, Size: uint64(size())}, size(), r.IntN(16) == 0)
						if err != nil {
							t.Errorf("worker %d, session %d: %v", worker, n, err)
							return
						}
						moved.Add(got)
						sessions.Add(1)
					}
				})
			}
			wg.Wait()
			took := time.Since(begin)
			t.Logf("%.2f GiB by hash in %d sessions, %v, %.1f Gbit/s", float64(moved.Load())/(1<<30), sessions.Load(), took.Round(time.Second), float64(moved.Load())*8e-9/took.Seconds())
			if spliced := e.metrics(t).sum("ebb_relay_spliced_bytes_total"); (spliced > 0) != (engine != "portable") {
				t.Errorf("%v bytes were spliced", spliced)
			}
			oracle(t, e)
		})
	}
}
