package lb

import (
	"time"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/pool"
)

// tuning is what a config says of a table that may change while it lives.
func tuning(c *config.Pool) pool.Tuning {
	policy, err := pool.ParsePolicy(c.Balance)
	if err != nil { // config knows the words
		panic("lb: " + err.Error())
	}
	t := pool.Tuning{
		Policy: policy, MaxConns: c.MaxConns, MaxTotal: c.PoolMaxConns, Bounded: c.Bounded,
		MinUp: c.MinUp, Failback: c.Failback, SlowStart: c.SlowStart, MaxConnecting: c.MaxConnecting, ConnectRate: c.ConnectRate,
	}
	if c.Failback == config.NeverFailback {
		t.Failback = pool.NeverFailback
	}
	return t
}

// awaitLocked waits for the epoch that time alone makes due, if there is one.
func (p *livePool) awaitLocked() {
	if p.next != nil {
		p.next.Stop()
		p.next = nil
	}
	if wait, due := p.table.Due(); due && !p.closed {
		p.next = time.AfterFunc(wait, p.advance)
	}
}

// advance makes that epoch, and lets follow what follows.
func (p *livePool) advance() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.table.Advance()
		p.tellLocked()
	}
}
