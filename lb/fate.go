package lb

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/relay"
	"github.com/ebb-lb/ebb/pool"
)

// act is a word of the session policy, the mildest first.
type act uint8

const (
	keep  act = iota // sessions live on as if nothing had happened
	drain            // they have drain_timeout
	quiet            // so they have, and end when they are quiet
	shut             // they are closed
)

var acts = map[string]act{"keep": keep, "drain": drain, "quiet": quiet, "close": shut}

// terms say what is to become of the sessions on one peer.
type terms struct {
	act    act
	word   end.Word      // with which they are closed
	fences bool          // they are closed all at once: the peer may not be spoken to any more
	within time.Duration // drain_timeout; 0 is for ever
	after  time.Duration // quiet_time
	behind bool          // the peer stands by, and what is on it is to go to the tier that serves
}

// fates is what becomes of the sessions on the peers that are dead, unwanted, gone or taken out. The pool's mu guards changes.
//
// A fate is decided anew from all its causes whenever one of them changes, so that no order of events matters. It holds for
// an address, and so for the sessions of every epoch.
type fates struct {
	of   sync.Map       // netip.AddrPort -> *fate
	work sync.WaitGroup // what closes sessions
	pace pace
}

// find gives the fate of an address, or nil. Anybody may ask.
func (f *fates) find(addr netip.AddrPort) *fate {
	if found, ok := f.of.Load(addr); ok {
		return found.(*fate)
	}
	return nil
}

// fate is what becomes of the sessions on one peer.
type fate struct {
	terms
	since time.Time     // when it began to drain
	timer *time.Timer   // of drain_timeout
	over  atomic.Bool   // drain_timeout has run out
	off   chan struct{} // closed when the fate is another
	wish  *relay.Quiet  // nil if they need not be quiet
}

// termsLocked finds the strictest terms that a cause asks for. The causes that fence come first.
func (p *livePool) termsLocked(addr netip.AddrPort) (t terms) {
	peer := p.table.Peer(addr)
	if peer == nil || p.closed {
		return t
	}
	conf := p.conf()
	ask := func(policy string, word end.Word, fences bool) {
		if a := acts[policy]; a > t.act {
			t = terms{act: a, word: word, fences: fences}
		}
	}
	cause := ""
	if peer.Health() == pool.HealthDown {
		cause = dead
	} else if c := p.checks[addr]; c != nil {
		cause = c.verdict.cause
	}
	switch cause {
	case dead:
		ask(conf.On.Dead, end.PeerDead, true)
	case roleLost:
		ask(conf.On.RoleLost, end.RoleLost, true)
	case degraded:
		ask(conf.On.Degraded, end.Drained, false)
	}
	switch p.table.Admin(addr) {
	case pool.AdminDrain:
		ask(conf.On.AdminDrain, end.AdminKilled, false)
	case pool.AdminMaint:
		ask(conf.On.AdminMaint, end.AdminKilled, false)
	}
	if !p.table.Lists(peer) {
		ask(conf.On.Removed, end.PeerRemoved, false)
	}
	behind := conf.On.Failback != "keep" && p.table.StandsBy(peer)
	if behind {
		ask(conf.On.Failback, end.Drained, false)
	}
	switch t.act {
	case drain:
		t = terms{act: drain, word: end.Drained, within: conf.DrainTimeout}
	case quiet:
		t = terms{act: quiet, word: end.Drained, within: conf.DrainTimeout, after: conf.QuietTime}
	}
	t.behind = behind
	return t
}

// decideLocked makes the fate of a peer what its causes ask for now, and has it carried out. What its sessions have had of
// drain_timeout counts as long as they drain, whatever the cause.
func (p *livePool) decideLocked(addr netip.AddrPort) {
	was, now := p.fates.find(addr), p.termsLocked(addr)
	if was != nil {
		if was.terms == now {
			return
		}
		close(was.off)
		if was.timer != nil {
			was.timer.Stop()
		}
		if was.wish != nil {
			was.wish.TakeBack()
		}
		p.fates.of.Delete(addr)
	}
	if now.act == keep {
		return
	}
	f := &fate{terms: now, since: time.Now(), off: make(chan struct{})}
	p.fates.of.Store(addr, f)
	if f.act == shut {
		p.fates.work.Go(func() { p.shut(addr, f) })
		return
	}
	if was != nil && was.act != shut {
		f.since = was.since
	}
	if f.act == quiet {
		f.wish = relay.NewQuiet(f.after)
		p.fates.work.Go(func() { p.quieten(addr, f) })
	}
	if f.within > 0 {
		f.timer = time.AfterFunc(time.Until(f.since.Add(f.within)), func() { p.overdue(addr, f) })
	}
}

// decideAllLocked is decideLocked for every peer that is alive.
func (p *livePool) decideAllLocked() {
	for _, addr := range p.table.Alive() {
		p.decideLocked(addr)
	}
}

// overdue ends what is left on a peer when drain_timeout runs out.
func (p *livePool) overdue(addr netip.AddrPort, f *fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fates.find(addr) != f { // the peer came back meanwhile
		return
	}
	f.over.Store(true)
	p.fates.work.Go(func() { p.shut(addr, f) })
}

// shut closes the sessions on a peer, those on old epochs included: at close_rate, unless it is a fence, and as long as that
// is their fate.
func (p *livePool) shut(addr netip.AddrPort, f *fate) {
	n := 0
	for _, s := range p.on(addr) {
		if !f.fences && !p.fates.pace.wait(p.conf().CloseRate, f.off) {
			break
		}
		s.Kill(f.word)
		n++
	}
	if n > 0 {
		p.log.Info("sessions closed", "peer", addr.String(), "end", f.word.String(), "sessions", n)
	}
}

// quieten gives the TCP sessions on a peer the wish that they end when they are quiet, at close_rate: many may be so now.
func (p *livePool) quieten(addr netip.AddrPort, f *fate) {
	for _, s := range p.on(addr) {
		if s, is := s.(*tcpSession); is {
			if !p.fates.pace.wait(p.conf().CloseRate, f.off) {
				return
			}
			s.EndWhenQuiet(f.wish)
		}
	}
}

// unwanted says why the sessions on a peer have been closed, as the session policy has it; end.None if they have not, and then
// which wish they have, if any.
func (p *livePool) unwanted(peer *pool.Peer) (end.Word, *relay.Quiet) {
	f := p.fates.find(peer.Addr())
	switch {
	case f == nil:
		return end.None, nil
	case f.act == shut || f.over.Load():
		return f.word, nil
	}
	return end.None, f.wish
}

// standsBehind says whether what is on a peer is to go to the tier that serves.
func (p *livePool) standsBehind(peer *pool.Peer) bool {
	f := p.fates.find(peer.Addr())
	return f != nil && f.behind
}

// isWelcome tells whether sessions on a peer live, when all that follows its last change has followed: it is offered a moment
// before its fate is another.
func (p *livePool) isWelcome(peer *pool.Peer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, _ := p.unwanted(peer)
	return w == end.None
}

// pace spreads what happens evenly: so many times a second, in groups that fit into paceGroup.
type pace struct {
	mu sync.Mutex
	at time.Time // of what comes next
}

const paceGroup = 10 * time.Millisecond

// wait returns when it is the caller's turn, and false if it is called off before. A rate of 0 makes nobody wait.
func (c *pace) wait(rate int, off <-chan struct{}) bool {
	var ahead time.Duration
	if rate > 0 {
		c.mu.Lock()
		now := time.Now()
		if c.at.Before(now) {
			c.at = now
		}
		ahead = c.at.Sub(now)
		c.at = c.at.Add(time.Second / time.Duration(rate))
		c.mu.Unlock()
	}
	if ahead < paceGroup {
		select {
		case <-off:
			return false
		default:
			return true
		}
	}
	turn := time.NewTimer(ahead)
	defer turn.Stop()
	select {
	case <-off:
		return false
	case <-turn.C:
		return true
	}
}
