package gate

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// SourceLimits hold for each source alone. A source is a prefix: all clients whose addresses have these bits in common.
type SourceLimits struct {
	MaxConns   int // sessions at a time; 0 is no limit
	Rate       int // new sessions in a second, up to 1e9, and as many at once; 0 is no limit
	IPv4, IPv6 int // bits of a prefix
}

// Verdict is what Take says.
type Verdict uint8

// The verdicts.
const (
	Taken   Verdict = iota
	TooMany         // the source has MaxConns sessions
	TooFast         // the source has begun too many in the last second
)

// Sources knows the sources that have sessions, and for a second those that had some. It never knows more of the latter than
// maxIdle: then the one that has been idle for longest is forgotten, and may come as if it were new. The zero value has no
// limits. All methods may be called by any goroutine.
type Sources struct {
	limits atomic.Pointer[SourceLimits]
	once   sync.Once
	seed   maphash.Seed
	born   time.Time
	shards [sourceShards]sourceShard
}

const (
	sourceShards = 64
	maxIdle      = 1 << 16
)

// SetLimits holds for sessions that come from now on. Those that came while there was no limit are not counted.
func (s *Sources) SetLimits(l SourceLimits) {
	s.once.Do(func() { s.seed, s.born = maphash.MakeSeed(), time.Now() })
	if l.MaxConns == 0 && l.Rate == 0 {
		s.limits.Store(nil)
		return
	}
	s.limits.Store(&l)
}

// Place is what a session holds of its source. The zero value is none.
type Place struct {
	sources *Sources
	shard   *sourceShard
	at      int32
}

// Take takes a place for one session, or says which limit is in the way. Who gets a place gives it back, once. It allocates
// only while there are more sources at a time than there ever were.
func (s *Sources) Take(a netip.Addr) (Place, Verdict) {
	l := s.limits.Load()
	if l == nil {
		return Place{}, Taken
	}
	return s.take(l, a, time.Since(s.born))
}

// Ask says what Take would say, and takes nothing.
func (s *Sources) Ask(a netip.Addr) Verdict {
	l := s.limits.Load()
	if l == nil {
		return Taken
	}
	sh, k, hash := s.find(l, a)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	_, _, v := sh.judge(l, k, hash, time.Since(s.born))
	return v
}

func (s *Sources) take(l *SourceLimits, a netip.Addr, now time.Duration) (Place, Verdict) {
	sh, k, hash := s.find(l, a)
	at, v := sh.take(l, k, hash, now)
	if v != Taken {
		return Place{}, v
	}
	return Place{s, sh, at}, Taken
}

// find gives the source of an address: its shard, its key, and where it is there.
func (s *Sources) find(l *SourceLimits, a netip.Addr) (*sourceShard, sourceKey, uint32) {
	a = a.Unmap()
	k := sourceKey{bits: uint8(l.IPv6)}
	if a.Is4() {
		k.bits = uint8(l.IPv4)
	}
	p, err := a.Prefix(int(k.bits))
	if err != nil { // not an address, or not as many bits as a prefix of its family has: our mistake
		panic("gate: " + err.Error())
	}
	k.addr = p.Addr().As16()
	hash := maphash.Comparable(s.seed, k)
	return &s.shards[hash%sourceShards], k, uint32(hash >> 32)
}

// Give gives the place back.
func (p Place) Give() {
	if p.sources != nil {
		p.give(time.Since(p.sources.born))
	}
}

func (p Place) give(now time.Duration) { p.shard.give(p.at, now) }

type sourceKey struct {
	addr [16]byte
	bits uint8 // these may change, and then the same address is another source
}

// source is one prefix. While it has no session it is in its shard's list of idle ones.
type source struct {
	key          sourceKey
	hash         uint32
	held         int32         // sessions
	next         int32         // in its chain, or in the list of free ones
	older, newer int32         // while it is idle
	due          time.Duration // from when on it owes nothing for the sessions that it has begun
}

// sourceShard is a part of the sources: records in one slice, found by chains. Indices are stored plus one, so that zero is
// none.
type sourceShard struct {
	mu             sync.Mutex
	chains         []int32 // a power of two
	records        []source
	free           int32
	oldest, newest int32 // idle
	idle           int
}

// judge says whether a source may have one more session, where it is, if it is known, and when it is due again with that one.
// The caller holds mu.
func (sh *sourceShard) judge(l *SourceLimits, k sourceKey, hash uint32, now time.Duration) (at int32, due time.Duration, v Verdict) {
	at = sh.find(k, hash)
	if at != 0 {
		r := &sh.records[at-1]
		if l.MaxConns > 0 && int(r.held) >= l.MaxConns || r.held == math.MaxInt32 {
			return at, 0, TooMany
		}
		due = r.due
	}
	if l.Rate > 0 {
		var ok bool
		if due, ok = after(due, now, l.Rate); !ok {
			return at, 0, TooFast
		}
	}
	return at, due, Taken
}

func (sh *sourceShard) take(l *SourceLimits, k sourceKey, hash uint32, now time.Duration) (int32, Verdict) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at, due, v := sh.judge(l, k, hash, now)
	if v != Taken {
		return 0, v
	}
	if at == 0 {
		at = sh.add(k, hash)
	} else if sh.records[at-1].held == 0 {
		sh.unlink(at)
	}
	r := &sh.records[at-1]
	r.held++
	r.due = due
	return at, Taken
}

func (sh *sourceShard) give(at int32, now time.Duration) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r := &sh.records[at-1]
	if r.held--; r.held < 0 {
		panic("gate: a source has fewer than zero sessions")
	}
	if r.held > 0 {
		return
	}
	if r.due <= now {
		sh.forget(at)
		return
	}
	sh.link(at)
	for range 2 { // idle sources become fewer even while more come
		if sh.oldest != 0 && (sh.idle > maxIdle/sourceShards || sh.records[sh.oldest-1].due <= now) {
			oldest := sh.oldest
			sh.unlink(oldest)
			sh.forget(oldest)
		}
	}
}

func (sh *sourceShard) find(k sourceKey, hash uint32) int32 {
	if len(sh.chains) == 0 {
		return 0
	}
	at := sh.chains[int(hash)&(len(sh.chains)-1)]
	for at != 0 && sh.records[at-1].key != k {
		at = sh.records[at-1].next
	}
	return at
}

// add makes a record.
func (sh *sourceShard) add(k sourceKey, hash uint32) int32 {
	at := sh.free
	if at != 0 {
		sh.free = sh.records[at-1].next
	} else {
		sh.records = append(sh.records, source{})
		at = int32(len(sh.records))
		if len(sh.records) > len(sh.chains) {
			sh.rechain()
		}
	}
	chain := &sh.chains[int(hash)&(len(sh.chains)-1)]
	sh.records[at-1] = source{key: k, hash: hash, next: *chain}
	*chain = at
	return at
}

// rechain makes more chains. All records but the last are in use.
func (sh *sourceShard) rechain() {
	sh.chains = make([]int32, max(16, 2*len(sh.chains)))
	for i := range sh.records[:len(sh.records)-1] {
		r := &sh.records[i]
		chain := &sh.chains[int(r.hash)&(len(sh.chains)-1)]
		r.next = *chain
		*chain = int32(i + 1)
	}
}

// forget frees a record, which is in no list.
func (sh *sourceShard) forget(at int32) {
	r := &sh.records[at-1]
	link := &sh.chains[int(r.hash)&(len(sh.chains)-1)]
	for *link != at {
		link = &sh.records[*link-1].next
	}
	*link = r.next
	*r = source{next: sh.free}
	sh.free = at
}

// link puts a record at the end of the list of idle ones.
func (sh *sourceShard) link(at int32) {
	r := &sh.records[at-1]
	r.older, r.newer = sh.newest, 0
	if sh.newest != 0 {
		sh.records[sh.newest-1].newer = at
	} else {
		sh.oldest = at
	}
	sh.newest = at
	sh.idle++
}

func (sh *sourceShard) unlink(at int32) {
	r := &sh.records[at-1]
	if r.older != 0 {
		sh.records[r.older-1].newer = r.newer
	} else {
		sh.oldest = r.newer
	}
	if r.newer != 0 {
		sh.records[r.newer-1].older = r.older
	} else {
		sh.newest = r.older
	}
	r.older, r.newer = 0, 0
	sh.idle--
}
