package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

// demoTTL is how long the demo's answers may be kept: what a name that is meant to move has in earnest.
const demoTTL = time.Second

// demoSteps are the backends that the name leads to, by letter, in a circle. Each step adds, removes or replaces one.
var demoSteps = []string{"ab", "abc", "bc", "ac", "c", "b"}

// demoZone is a DNS server whose names move.
type demoZone struct {
	server   *dnstest.Server
	backends demoBackends

	mu  sync.Mutex
	now demoAnswer
}

// demoAnswer is what the DNS server says at a time.
type demoAnswer struct {
	serial  int      // how often it has changed
	records []string // one line for each name
	change  string   // from the answer before
	since   time.Time
}

func newDemoZone(backends demoBackends) (*demoZone, error) {
	server, err := dnstest.Start("")
	if err != nil {
		return nil, err
	}
	z := &demoZone{server: server, backends: backends}
	z.set(0)
	return z, nil
}

func (z *demoZone) close() { z.server.Close() }

// answer is the one of now.
func (z *demoZone) answer() demoAnswer {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.now
}

// set makes the zone say what the step of a serial says.
func (z *demoZone) set(serial int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	step, before := demoSteps[serial%len(demoSteps)], demoSteps[(serial+len(demoSteps)-1)%len(demoSteps)]
	var hosts, changes []string
	addrs := make(map[string][]string)
	for i, b := range z.backends {
		letter := string(rune('a' + i))
		if _, known := addrs[b.host]; !known {
			hosts = append(hosts, b.host)
			addrs[b.host] = nil
		}
		is, was := strings.Contains(step, letter), serial > 0 && strings.Contains(before, letter)
		if is {
			addrs[b.host] = append(addrs[b.host], b.addr.Addr().String())
		}
		switch {
		case is && !was:
			changes = append(changes, "+"+b.name)
		case was && !is:
			changes = append(changes, "-"+b.name)
		}
	}
	z.now = demoAnswer{serial: serial, change: strings.Join(changes, " "), since: time.Now()}
	for _, host := range hosts {
		z.server.SetA(host, uint32(demoTTL.Seconds()), addrs[host]...)
		line := fmt.Sprintf("%s A %s", host, strings.Join(addrs[host], " "))
		if len(addrs[host]) == 0 {
			line = host + " no A"
		}
		z.now.records = append(z.now.records, line)
	}
}

// move takes the next step every d until the function that it returns is called.
func (z *demoZone) move(d time.Duration) (stop func()) {
	end := make(chan struct{})
	var moving sync.WaitGroup
	moving.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for serial := 1; ; serial++ {
			select {
			case <-tick.C:
				z.set(serial)
			case <-end:
				return
			}
		}
	})
	return func() {
		close(end)
		moving.Wait()
	}
}
