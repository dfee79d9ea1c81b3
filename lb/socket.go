package lb

import (
	"slices"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// both is what a config says of the sockets of either side.
func both(c *config.Socket) sock.Options {
	o := sock.Options{
		Nagle: !c.NoDelay, UserTimeout: c.UserTimeout, Congestion: c.Congestion, SendBuffer: c.SendBuffer, ReceiveBuffer: c.ReceiveBuffer,
		Mark: uint32(c.Mark), Interface: c.Interface, Freebind: c.Freebind, Transparent: c.Transparent,
	}
	if c.KeepaliveIdle > 0 {
		o.KeepAlive = sock.KeepAlive{Idle: c.KeepaliveIdle, Interval: c.KeepaliveInterval, Count: c.KeepaliveCount}
	}
	return o
}

func clientSocket(l *config.Listener) sock.Options {
	c := &l.Socket
	o := both(&c.Socket)
	o.Listening = sock.Listening{
		DeferAccept: c.DeferAccept, FastOpen: c.FastOpen, V6Only: c.V6Only, ReusePort: c.ReusePort, Class: l.PassECN || l.PassDSCP,
	}
	return o
}

func peerSocket(c *config.PeerSocket) sock.Options {
	o := both(&c.Socket)
	o.Source = sock.Source{First: c.SourcePorts[0], Last: c.SourcePorts[1], Client: c.FromClient}
	four, six := 0, 0
	for _, a := range c.Source {
		if a.Is4() {
			o.Source.IPv4[four] = a
			four++
		} else {
			o.Source.IPv6[six] = a
			six++
		}
	}
	return o
}

// Probe tries the socket options of a config on this host, and says which it does not give, and what they need.
func Probe(conf *config.Config) (problems config.Problems) {
	var o sock.Options // one for all, for there are thousands
	probe := func(what string, stream, listen, v6 bool) {
		for _, missing := range o.Probe(stream, listen, v6) {
			p := conf.Problem(what+" socket."+missing.Key, missing.Why())
			if !slices.Contains(problems, p) { // of another family or protocol
				problems = append(problems, p)
			}
		}
	}
	datagrams := make(map[string]bool) // by pool
	streams := make(map[string]bool)
	for i := range conf.Listeners {
		l := &conf.Listeners[i]
		o = clientSocket(l)
		for _, at := range l.Listen {
			stream := at.Network != "udp"
			if at.Path == "" {
				probe("listener "+l.Name, stream, true, at.Addr.Addr().Is6())
			}
			streams[l.Pool] = streams[l.Pool] || stream
			datagrams[l.Pool] = datagrams[l.Pool] || !stream
		}
	}
	for i := range conf.Pools {
		p := &conf.Pools[i]
		o = peerSocket(&p.Socket)
		for _, v6 := range []bool{false, true} {
			if streams[p.Name] {
				probe("pool "+p.Name, true, false, v6)
			}
			if datagrams[p.Name] {
				probe("pool "+p.Name, false, false, v6)
			}
		}
	}
	return problems
}

// rebound lists the options of sockets that stay bound which a reload would change and cannot: those that decide where a
// socket is bound, and all of UDP.
func rebound(old, now *config.Config) (problems config.Problems) {
	before := make(map[config.Endpoint]*config.Listener, len(old.Listeners))
	for i := range old.Listeners {
		for _, at := range old.Listeners[i].Listen {
			before[at] = &old.Listeners[i]
		}
	}
	for i := range now.Listeners {
		l := &now.Listeners[i]
		for _, at := range l.Listen {
			was := before[at]
			if was == nil {
				continue
			}
			for _, key := range config.Changed(&was.Socket, &l.Socket) {
				if !at.Binds(key) {
					continue
				}
				p := now.Problem("listener "+l.Name+" socket."+key, "changed, which takes a restart, or another address")
				if !slices.Contains(problems, p) {
					problems = append(problems, p)
				}
			}
		}
	}
	return problems
}
