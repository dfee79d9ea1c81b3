package lb

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// tries are the peers and results of the attempts of the only session that was logged.
func (r *rig) tries() (list []string) {
	r.t.Helper()
	r.awaitEnds(1)
	for a := range strings.SplitSeq(r.logs.find("session")[0]["attempts"].(string), ", ") {
		words := strings.Fields(a)
		list = append(list, words[0]+" "+words[1])
	}
	slices.Sort(list)
	return list
}

// Two attempts are two: those who stand by are not asked by a session whose tier serves and refuses.
func TestRH3TheBackupIsNoThirdAttempt(t *testing.T) {
	r := newRig(t)
	peers, port := backends(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	for i, ip := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		r.pool().Backends = append(r.pool().Backends, named(ip, port))
		r.pool().Backends[i].Tier = i / 2
	}
	r.pool().ConnectAttempts = 2
	peers[0].stop()
	peers[1].stop()
	r.serve()
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	want := []string{fmt.Sprint(peers[0].addr, " refused"), fmt.Sprint(peers[1].addr, " refused")}
	if got := r.tries(); !slices.Equal(got, want) {
		t.Errorf("tried %v, expected %v", got, want)
	}
	if ends := r.awaitEnds(1); ends[0] != "connect_failed" {
		t.Errorf("ends %v", ends)
	}
	if n := peers[2].seen.Load(); n != 0 {
		t.Errorf("the backup saw %d connections", n)
	}
	r.closed()
}

// A peer that is out is no attempt: the session says why it failed, not that nobody is there.
func TestRH4APeerThatIsOutIsNoAttempt(t *testing.T) {
	r, peers := two(t, func(*rig) {})
	r.order(peers[1].addr, admin.Order{Word: "maint"})
	peers[0].stop()
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	if got := r.tries(); !slices.Equal(got, []string{fmt.Sprint(peers[0].addr, " refused")}) {
		t.Errorf("tried %v", got)
	}
	if ends := r.awaitEnds(1); ends[0] != "connect_failed" {
		t.Errorf("ends %v", ends)
	}
	r.closed()
}

// A hundred sessions live on a peer that turns unhealthy: all stay, or all end.
func TestRH11SessionsOnAPeerThatTurnsUnhealthy(t *testing.T) {
	const sessions = 100
	for _, word := range []string{"keep", "close"} {
		t.Run(word, func(t *testing.T) {
			r := newRig(t)
			peers, port := backends(t, "127.0.0.2")
			r.pool().Backends = append(r.pool().Backends, named("127.0.0.2", port))
			r.pool().Check, r.pool().On.Dead = fastCheck(), word
			r.pool().CloseRate, r.pool().DrainTimeout, r.pool().QuietTime = 1, time.Hour, time.Hour // none of which is waited for
			r.serve()
			eventually(t, "it is up", func() bool { return r.status().Peers[0].State == "up" })
			var live []*net.TCPConn
			for range sessions {
				c := r.dial()
				greeting(t, c)
				live = append(live, c)
			}
			peers[0].ln.Close() // its connections live on: only the check knows
			eventually(t, "it is down", func() bool { return r.status().Peers[0].State == "down" })
			begin := time.Now()
			for _, c := range live {
				if word == "keep" {
					if !lives(c) {
						t.Fatal("a session has ended")
					}
					c.Close()
				} else if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Fatalf("a session sees %v, expected its end", err)
				}
			}
			t.Logf("%s: %d sessions within %v", word, sessions, time.Since(begin))
			want := map[string]string{"keep": "client_fin", "close": "peer_dead"}[word]
			for _, end := range r.awaitEnds(sessions) {
				if end != want {
					t.Fatalf("end %s, expected %s", end, want)
				}
			}
			r.closed()
		})
	}
}

// Whoever finds every peer full is turned away by the pick itself: no timer of this pool ends within the test. A place that is given
// back is there before the session's line is.
func TestRH7WhoIsTooManyWaitsForNoTimer(t *testing.T) {
	r, _ := one(t, func(p *config.Pool) {
		p.MaxConns = 3
		p.ConnectTimeout, p.ConnectDeadline, p.QueueTimeout, p.HoldTimeout = time.Hour, 2*time.Hour, time.Hour, time.Hour
	})
	var live []*net.TCPConn
	for range 3 {
		c := r.dial()
		greeting(t, c)
		live = append(live, c)
	}
	begin := time.Now()
	for range 3 {
		if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("no reset: %v", err)
		}
	}
	t.Logf("three were turned away in %v", time.Since(begin))
	for i, end := range r.awaitEnds(3) {
		if _, tried := r.logs.find("session")[i]["attempts"]; tried || end != "no_peer" {
			t.Errorf("end %s, attempts %v", end, tried)
		}
	}
	live[0].Close()
	r.awaitEnds(4)
	live[0] = r.dial()
	greeting(t, live[0])
	for _, c := range live {
		c.Close()
	}
	r.awaitEnds(7)
	r.closed()
}

// A session that got its peer after another one had failed has a place there like any other, and the peer that failed counts it, too.
func TestRH7RetriedConnectsCount(t *testing.T) {
	r, peers := two(t, func(r *rig) { r.pool().Balance, r.pool().MaxConns = "first", 1 })
	peers[0].stop()
	c := r.dial()
	if who := greeting(t, c); who != peers[1].addr {
		t.Fatalf("served by %v", who)
	}
	st := r.status().Peers
	if st[0].Active != 0 || st[0].Total != 1 || st[1].Active != 1 || st[1].Total != 1 {
		t.Errorf("%+v and %+v", st[0], st[1])
	}
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "connect_failed" {
		t.Errorf("ends %v", ends)
	}
	if got := r.logs.find("session")[0]["attempts"].(string); !strings.HasPrefix(got, fmt.Sprint(peers[0].addr, " refused ")) || strings.Contains(got, ",") {
		t.Errorf("attempts %q: there was no place on the other peer", got)
	}
	if n := peers[1].seen.Load(); n != 1 {
		t.Errorf("the peer that is full saw %d connections", n)
	}
	c.Close()
	r.awaitEnds(2)
	c = r.dial()
	if who := greeting(t, c); who != peers[1].addr {
		t.Errorf("served by %v", who)
	}
	c.Close()
	r.awaitEnds(3)
	if st := r.status().Peers; st[0].Total != 3 || st[1].Total != 2 || st[0].Active+st[1].Active != 0 {
		t.Errorf("%+v and %+v", st[0], st[1])
	}
	r.closed()
}
