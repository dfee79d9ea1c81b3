//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// scenario is something that happens to the primary, a, after which b is it. What Patroni would know, its REST API says at once.
type scenario struct {
	name, about string
	each        bool // clients make a session for each write
	alone       bool // nobody is promoted
	happen      func(ctx context.Context, p *pair) error
	target      target
}

// pair is two servers with a proxy before them.
type pair struct {
	a, b  *postgres
	rig   rig
	proxy proxy
	since time.Time // a is not the primary any more, or is not to be
}

var scenarios = []scenario{
	{
		name: "promoted", about: "the replica is promoted, and the old primary lives on and knows nothing of it",
		happen: func(_ context.Context, p *pair) error {
			err := p.promote()
			p.since = time.Now()
			return err
		},
		target: target{first: 3 * time.Second, closed: 3 * time.Second},
	},
	{
		name: "fenced", about: "as promoted; before that the old primary is made read only, as a fence does, and its sessions live on",
		happen: func(_ context.Context, p *pair) error {
			err := p.fence()
			p.since = time.Now()
			return errors.Join(err, p.promote())
		},
		target: target{first: 3 * time.Second, closed: 3 * time.Second, fenced: true},
	},
	{
		name: "demoted", about: "a manager stops the primary, promotes the replica, and starts the old one as a replica of it",
		happen: func(_ context.Context, p *pair) error {
			p.a.leads.Store(false)
			err := p.a.stop()
			p.since = time.Now()
			return errors.Join(err, p.promote(), p.a.rejoin())
		},
		target: target{first: 3 * time.Second, closed: 3 * time.Second, fenced: true},
	},
	{
		name: "killed", about: "all processes of the primary get SIGKILL; the replica is promoted at once",
		happen: func(_ context.Context, p *pair) error {
			p.a.leads.Store(false)
			err := p.a.signal(syscall.SIGKILL)
			p.since = time.Now()
			return errors.Join(err, p.promote())
		},
		target: target{first: 3 * time.Second, closed: time.Second, fenced: true},
	},
	{
		name: "frozen", about: "all processes of the primary get SIGSTOP, and Patroni with them; nobody is promoted", alone: true,
		happen: func(_ context.Context, p *pair) error { return p.freeze() },
		target: target{closed: 6 * time.Second},
	},
	{
		name: "dropped", about: "every packet from and to the primary is dropped; nobody is promoted", alone: true,
		happen: func(_ context.Context, p *pair) error { return p.cutOff() },
		target: target{closed: 6 * time.Second},
	},
	{
		name: "frozen, promoted", about: "as frozen; the replica is promoted at once",
		happen: func(_ context.Context, p *pair) error { return errors.Join(p.freeze(), p.promote()) },
		target: target{first: 6 * time.Second, closed: 6 * time.Second, fenced: true},
	},
	{
		name: "dropped, promoted", about: "as dropped; the replica is promoted at once",
		happen: func(_ context.Context, p *pair) error { return errors.Join(p.cutOff(), p.promote()) },
		target: target{first: 6 * time.Second, closed: 6 * time.Second, fenced: true},
	},
	{
		name: "planned", about: "as demoted; clients make a session for each write. ebb: by ebb switch", each: true,
		happen: func(ctx context.Context, p *pair) error { return p.planned(ctx) },
		target: target{noErrors: true, fenced: true},
	},
}

// promote makes b the primary, and Patroni's leader.
func (p *pair) promote() error {
	p.a.leads.Store(false)
	defer p.b.leads.Store(true)
	return p.b.promote()
}

// fence lets no session of a write any more. They hear of it between two statements.
func (p *pair) fence() error {
	_, err := p.a.ask("ALTER SYSTEM SET default_transaction_read_only = on")
	if err == nil {
		_, err = p.a.ask("SELECT pg_reload_conf()")
	}
	time.Sleep(think)
	return err
}

// freeze stops a without an end.
func (p *pair) freeze() error {
	p.a.frozen.Store(true)
	err := p.a.signal(syscall.SIGSTOP)
	p.since = time.Now()
	return err
}

// cutOff lets nothing reach a, nor come from it.
func (p *pair) cutOff() error {
	err := drop(hostA)
	p.since = time.Now()
	return err
}

// drop loses all packets of an address; undrop loses none.
func drop(host string) error {
	return nft("add chain inet failover in { type filter hook input priority 0; }; add rule inet failover in ip daddr " + host +
		" drop; add rule inet failover in ip saddr " + host + " drop")
}

func undrop() error { return nft("flush ruleset; add table inet failover") }

func nft(what string) error {
	if out, err := exec.Command(sbin("nft"), what).CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// planned is a switch-over as docs/databases.md has it.
func (p *pair) planned(ctx context.Context) error {
	var out bytes.Buffer
	wait := func() error { return nil }
	if p.proxy.name == ebbProxy.name {
		cmd := exec.CommandContext(ctx, p.rig.ebb, "switch", "pg", "--to", p.b.host+":"+pgPort)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			return err
		}
		wait = func() error {
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("ebb switch: %w: %s", err, &out)
			}
			return nil
		}
		if err := awaitIdle(p.a.host); err != nil {
			return errors.Join(err, cmd.Process.Kill(), wait())
		}
	}
	p.a.leads.Store(false)
	err := p.a.stop()
	p.since = time.Now()
	return errors.Join(err, p.promote(), wait(), p.a.rejoin())
}

// awaitIdle waits until ebb holds its pool and no session is on a server.
func awaitIdle(host string) error {
	for give := time.Now().Add(10 * time.Second); time.Now().Before(give); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + adminAddr + "/v1/pools/pg")
		if err != nil {
			return err
		}
		var pool struct {
			Held  bool
			Peers []struct {
				Addr   string
				Active int
			}
		}
		err = json.NewDecoder(resp.Body).Decode(&pool)
		resp.Body.Close()
		if err != nil {
			return err
		}
		idle := pool.Held
		for _, peer := range pool.Peers {
			idle = idle && (peer.Addr != host+":"+pgPort || peer.Active == 0)
		}
		if idle {
			return nil
		}
	}
	return errors.New("the sessions on the old primary do not end")
}

// How long a scenario is watched: until all is as it should be and then for a while, and at most.
const (
	settle = 2 * time.Second
	atMost = 30 * time.Second
)

// measure runs a scenario once.
func (r rig) measure(ctx context.Context, s scenario, via proxy) (result, error) {
	if err := ctx.Err(); err != nil {
		return result{}, err
	}
	dir := filepath.Join(r.dir, "pair")
	defer remove(dir)
	p, err := newPair(dir)
	if err != nil {
		return result{}, err
	}
	defer p.close()
	p.rig, p.proxy = r, via
	run, err := via.start(r, dir)
	if err != nil {
		return result{}, err
	}
	defer run.stop()
	c := startClients(r.clients, s.each)
	defer c.stop()
	begin := time.Now()
	if err := until(ctx, atMost, func() bool { return c.count(hostA, begin) > 20*r.clients }); err != nil {
		return result{}, fmt.Errorf("the clients do not write: %w: %s", err, &run.out)
	}
	begin = time.Now() // errors while the proxy finds the primary are not what is measured
	if err := s.happen(ctx, p); err != nil {
		return result{}, err
	}
	_ = until(ctx, atMost, func() bool { // else the report says so
		return c.open(hostA) == 0 && (s.alone || c.count(hostB, p.since) > r.clients)
	})
	pause(ctx, settle)
	c.stop()
	if r.logs {
		fmt.Printf("%s, %s:\n%s\n", s.name, via.name, &run.out)
	}
	return c.result(begin, p.since), ctx.Err()
}

func until(ctx context.Context, most time.Duration, is func() bool) error {
	for give := time.Now().Add(most); !is(); pause(ctx, 10*time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(give) {
			return errors.New("not in time")
		}
	}
	return nil
}
