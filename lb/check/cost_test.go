package check

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What a thousand peers cost that are asked every two seconds: in percent of a core, and in µs of CPU for each probe.
//
//	go test -run '^$' -bench ThousandPeers -benchtime 10x ./lb/check
//
// An operation is one interval. The peers are another process, whose CPU is not counted; its kernel's part of a connection
// over loopback is, for the most part: the same core carries a packet to its other end.
func BenchmarkThousandPeers(b *testing.B) {
	secret := b.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte("geheim"), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, o := range []Options{{Kind: "tcp"}, {Kind: "postgres", User: "ebb", PasswordFile: secret}} {
		b.Run(o.Kind, func(b *testing.B) {
			port := peers(b, o.Kind)
			o.Interval, o.FastInterval, o.Timeout, o.Fall, o.Rise = 2*time.Second, time.Second, 10*time.Second, 3, 2
			h := NewHub()
			defer h.Close()
			var up atomic.Int64
			var watches []*Watch
			for i := range 1000 {
				at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i / 250), byte(1 + i%250)}), port)
				w, err := h.Watch(at, o, 0, func(s State) {
					if s.Up {
						up.Add(1)
					} else {
						b.Errorf("%v: %s %s", at, s.Last.Reason, s.Last.Detail)
					}
				})
				if err != nil {
					b.Fatal(err)
				}
				watches = append(watches, w)
				time.Sleep(o.Interval / 1000) // as jitter would take them apart in time
			}
			for up.Load() < int64(len(watches)) && !b.Failed() {
				time.Sleep(10 * time.Millisecond)
			}
			before, began := cpuTime(), time.Now()
			for b.Loop() {
				time.Sleep(o.Interval)
			}
			used := cpuTime() - before
			probes := float64(len(watches)) * time.Since(began).Seconds() / o.Interval.Seconds()
			b.ReportMetric(100*used.Seconds()/time.Since(began).Seconds(), "%core")
			b.ReportMetric(used.Seconds()*1e6/probes, "µs/probe")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peersOf makes this binary a process of peers, of the kind that it names.
const peersOf = "EBB_PEERS_OF"

// peers starts the peers of a benchmark, and gives their port, on every address.
func peers(b *testing.B, kind string) uint16 {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), peersOf+"="+kind)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe() // they go with it
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	var port uint16
	if _, err := fmt.Fscanln(bufio.NewReader(out), &port); err != nil {
		b.Fatal(err)
	}
	return port
}

// bePeers serves until the standard input ends.
func bePeers(kind string) {
	serve := func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }
	if kind == "postgres" {
		server := &postgresServer{saw: make(chan string, 1), query: rows("f", "0000000A", "NULL")}
		server.auth = scramServer("geheim", 1, false) // a key is derived once; one iteration will do
		go func() {
			for range server.saw {
			}
		}()
		serve = server.serve
	}
	ln, err := net.Listen("tcp4", ":0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(c)
				_ = c.Close()
			}()
		}
	}()
	fmt.Println(netip.MustParseAddrPort(ln.Addr().String()).Port())
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}
