package check

import (
	"context"
	"net/netip"
	"time"
)

// newTLS is the "tls" kind: a handshake that succeeds is life.
func newTLS(o Options) (probeFunc, error) {
	if o.TLS.Mode == "" || o.TLS.Mode == "off" {
		o.TLS.Mode = "require"
	}
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, target netip.AddrPort) Result {
		start := time.Now()
		c, err := w.open(ctx, target)
		if err != nil {
			return failed(err)
		}
		latency := time.Since(start)
		leave(c)
		return Result{Alive: true, Reason: OK, Latency: latency}
	}, nil
}
