package check

import (
	"context"
	"net/netip"
	"time"
)

// newTCP is the "tcp" kind: a connection that can be made is life.
func newTCP(o Options) (probeFunc, error) {
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	return reaches(w.dial), nil
}

// reaches asks for no more than a connection.
func reaches[L link](open func(context.Context, netip.AddrPort) (L, error)) probeFunc {
	return func(ctx context.Context, target netip.AddrPort) Result {
		start := time.Now()
		c, err := open(ctx, target)
		if err != nil {
			return failed(err)
		}
		latency := time.Since(start)
		leave(c)
		return Result{Alive: true, Reason: OK, Latency: latency}
	}
}
