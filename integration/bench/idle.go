package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// idleMeasures are what runs after the loads, by what -load calls it.
var idleMeasures = []struct {
	name string
	of   func(proxy, context.Context, *targets, *report) error
}{
	{"idle sessions", proxy.measureIdle},
	{"UDP idle flows", proxy.measureFlows},
}

// idle is what a proxy holds in user space for a session or a flow in which nothing moves. What the kernel holds for its sockets is
// the same for all.
type idle struct {
	Sessions    int     `json:"sessions"`
	KiB         float64 `json:"kib"`         // of resident memory, for each
	Descriptors float64 `json:"descriptors"` // for each
}

// settle is how long a proxy gets to tidy up before its memory counts.
const settle = 3 * time.Second

// mostFiles is how many descriptors a process may have, at most 20,000.
var mostFiles = func() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		panic(err) // its arguments are ours
	}
	return int(min(limit.Cur, 20_000))
}()

// measureIdle opens as many sessions to each proxy as the descriptor limit allows: io.Copy needs six for each, this process two.
func (p proxy) measureIdle(ctx context.Context, t *targets, r *report) (err error) {
	if p.start != nil {
		r.Idle[p.name], err = p.idle(ctx, t, "tcp", t.echo, mostFiles/6-300)
	}
	return err
}

// measureFlows does it with flows, which take one descriptor each.
func (p proxy) measureFlows(ctx context.Context, t *targets, r *report) (err error) {
	if p.start != nil && p.udp {
		r.Flows[p.name], err = p.idle(ctx, t, "udp", t.udpEcho, mostFiles-500)
	}
	return err
}

// idle opens n sessions with one exchange each, and says what they have added to what the proxy holds.
func (p proxy) idle(ctx context.Context, t *targets, network, target string, n int) (idle, error) {
	listen := "127.0.0.1:" + freePort()
	proc, err := p.start(ctx, network, listen, target)
	if err != nil {
		return idle{}, err
	}
	defer proc.stop()
	if err := t.await(network, listen); err != nil {
		return idle{}, fmt.Errorf("%w: %s", err, proc.stderr.String())
	}
	time.Sleep(time.Second)
	before, err := proc.holds()
	if err != nil {
		return idle{}, err
	}
	var from net.Dialer
	port := 0
	message := make([]byte, 512)
	for i := range n {
		if network == "udp" { // one port on many addresses: the others are for the proxy, whose connect(2) takes one for all addresses
			from.LocalAddr = &net.UDPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i)), Port: port}
		}
		c, err := from.DialContext(ctx, network, listen)
		if err != nil {
			return idle{}, err
		}
		defer c.Close()
		if u, ok := c.LocalAddr().(*net.UDPAddr); ok {
			port = u.Port
		}
		_ = c.SetDeadline(time.Now().Add(settle))
		if _, err = c.Write(message); err == nil {
			_, err = io.ReadFull(c, message)
		}
		if err != nil {
			return idle{}, err
		}
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return idle{}, ctx.Err()
	}
	after, err := proc.holds()
	if err != nil {
		return idle{}, err
	}
	return idle{n, float64(after.kib-before.kib) / float64(n), float64(after.descriptors-before.descriptors) / float64(n)}, nil
}

// held is what a process and its children have.
type held struct{ kib, descriptors int }

func (p *process) holds() (h held, err error) {
	for _, pid := range p.family() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return h, err
		}
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
				n, _ := strconv.Atoi(f[1])
				h.kib += n
			}
		}
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return h, err
		}
		h.descriptors += len(list)
	}
	return h, nil
}
