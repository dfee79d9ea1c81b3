package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load is one kind of work. run puts it on an address for a while.
type load struct {
	name, unit string
	network    string  // tcp, udp, brief, questions
	cpuUnit    float64 // CPU is shown for this many units
	cpuLabel   string
	target     func(*targets) string
	run        func(ctx context.Context, t *targets, addr string, length time.Duration) (result, error)
}

// What there is over UDP besides flows that last: those that end with their first answer, and questions to a DNS server in flows that last.
const (
	brief     = "brief"
	questions = "questions"
)

// result is what a load came to.
type result struct {
	rate  float64       // units each second
	units float64       // done in all, warm-up included
	p99   time.Duration // of one unit; 0 is not measured
	other float64       // GB/s of the session beside; 0 is none
}

const (
	perMessages = "CPU s per 100k"
	perGB       = "CPU s per GB"
)

var loads = []load{
	{"connect, 1 byte each way, close", "conn/s", "tcp", 100_000, perMessages, echoTarget, connectClose},
	{"64-byte ping-pong, 1 connection", "msg/s", "tcp", 100_000, perMessages, echoTarget, pingPong(1)},
	{"64-byte ping-pong, 8 connections", "msg/s", "tcp", 100_000, perMessages, echoTarget, pingPong(8)},
	{"64-byte ping-pong, 50 connections", "msg/s", "tcp", 100_000, perMessages, echoTarget, pingPong(50)},
	{"64-byte ping-pong, 500 connections", "msg/s", "tcp", 100_000, perMessages, echoTarget, pingPong(500)},
	{"redis GET, 1 client", "req/s", "tcp", 100_000, perMessages, redisTarget, redisGet(1)},
	{"redis GET, 8 clients", "req/s", "tcp", 100_000, perMessages, redisTarget, redisGet(8)},
	{"redis GET, 50 clients", "req/s", "tcp", 100_000, perMessages, redisTarget, redisGet(50)},
	{"redis GET, 500 clients", "req/s", "tcp", 100_000, perMessages, redisTarget, redisGet(500)},
	{"pgbench -S, 8 clients", "transactions/s", "tcp", 100_000, perMessages, postgresTarget, pgbenchSelect(8)},
	{"bulk, 1 stream", "GB/s", "tcp", 1, perGB, sourceTarget, bulk(1)},
	{"bulk, 4 streams", "GB/s", "tcp", 1, perGB, sourceTarget, bulk(4)},
	{"beside a stream of 0.5 GB/s: 64-byte messages, 8 connections, each every 2 ms", "msg/s", "tcp", 100_000, perMessages, mixedTarget, beside(stream(500e6))},
	{"beside a stream without a bound: 64-byte messages, 8 connections, each every 2 ms", "msg/s", "tcp", 100_000, perMessages, mixedTarget, beside(stream(0))},
	{"beside a slow reader of a stream: 64-byte messages, 8 connections, each every 2 ms", "msg/s", "tcp", 100_000, perMessages, mixedTarget, beside(slowReader)},
	{"UDP 64-byte round trips, 16 flows", "msg/s", "udp", 100_000, perMessages, udpEchoTarget, udpRoundTrips(16)},
	{"UDP, DNS by dnsperf, 20 ports, 200 questions at a time", "queries/s", questions, 100_000, perMessages, dnsTarget, dnsperf(20)},
	{"UDP new flows, one round trip each", "flows/s", brief, 100_000, perMessages, udpEchoTarget, udpRoundTrips(16)},
	{"UDP new flows, one round trip each, 64 at a time", "flows/s", brief, 100_000, perMessages, udpEchoTarget, udpRoundTrips(64)},
	{"UDP one way, 1200 bytes, 4 flows", "datagrams/s", "udp", 100_000, perMessages, udpSinkTarget, udpOneWay(false, oneWayWindow)},
	{"UDP one way, 1200 bytes, 4 flows that send 16 as one (UDP_SEGMENT)", "datagrams/s", "udp", 100_000, perMessages, udpSinkTarget, udpOneWay(true, oneWayWindow)},
	{"UDP one way, 1200 bytes, 4 flows, all that a core can send", "datagrams/s", "udp", 100_000, perMessages, udpSinkTarget, udpOneWay(false, flood)},
}

func echoTarget(t *targets) string     { return t.echo }
func mixedTarget(t *targets) string    { return t.mixed }
func redisTarget(t *targets) string    { return t.redis }
func postgresTarget(t *targets) string { return t.postgres }
func sourceTarget(t *targets) string   { return t.source }
func dnsTarget(t *targets) string      { return t.dns }
func udpEchoTarget(t *targets) string  { return t.udpEcho }
func udpSinkTarget(t *targets) string  { return t.udpSink }

// connectClose makes connections one after the other in 16 workers: connect, send a byte, read it back, close. Source
// ports do not run out: on loopback Linux uses those in TIME_WAIT again (tcp_tw_reuse, 2 by default since 4.19).
func connectClose(ctx context.Context, _ *targets, addr string, length time.Duration) (result, error) {
	var done atomic.Int64
	took, err := workers(16, length, func(until time.Time) error {
		b := make([]byte, 1)
		for time.Now().Before(until) && ctx.Err() == nil {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			if _, err = c.Write(b); err == nil {
				_, err = io.ReadFull(c, b)
			}
			c.Close()
			if err != nil {
				return err
			}
			done.Add(1)
		}
		return nil
	})
	units := float64(done.Load())
	return result{rate: units / took.Seconds(), units: units}, err
}

// pingPong has n connections, on each of which the next message is sent when the last has come back.
func pingPong(n int) func(context.Context, *targets, string, time.Duration) (result, error) {
	return func(ctx context.Context, _ *targets, addr string, length time.Duration) (result, error) {
		all := make(chan []time.Duration, n)
		took, err := workers(n, length, func(until time.Time) error { return pings(ctx, addr, until, all) })
		close(all)
		var each []time.Duration
		for part := range all {
			each = append(each, part...)
		}
		r := result{units: float64(len(each))}
		r.rate = r.units / took.Seconds()
		if slices.Sort(each); len(each) > 0 {
			r.p99 = each[len(each)*99/100]
		}
		return r, err
	}
}

// pings makes round trips until a time and gives how long each took.
func pings(ctx context.Context, addr string, until time.Time, all chan<- []time.Duration) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 64)
	var each []time.Duration
	for now := time.Now(); now.Before(until) && ctx.Err() == nil; {
		if _, err = c.Write(b); err == nil {
			_, err = io.ReadFull(c, b)
		}
		if err != nil {
			return err
		}
		last := now
		now = time.Now()
		each = append(each, now.Sub(last))
	}
	all <- each
	return nil
}

// bulk reads from n connections as fast as it comes.
func bulk(n int) func(context.Context, *targets, string, time.Duration) (result, error) {
	return func(ctx context.Context, _ *targets, addr string, length time.Duration) (result, error) {
		var bytes atomic.Int64
		took, err := workers(n, length, func(until time.Time) error { return drain(ctx, addr, until, &bytes) })
		r := result{units: float64(bytes.Load()) / 1e9}
		r.rate = r.units / took.Seconds()
		return r, err
	}
}

func drain(ctx context.Context, addr string, until time.Time, bytes *atomic.Int64) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(until)
	b := make([]byte, 256<<10)
	for ctx.Err() == nil {
		n, err := c.Read(b)
		bytes.Add(int64(n))
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// workers runs n copies of work until its time is over and returns the first error.
func workers(n int, length time.Duration, work func(until time.Time) error) (time.Duration, error) {
	start := time.Now()
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for range n {
		wg.Go(func() { errs <- work(start.Add(length)) })
	}
	wg.Wait()
	took := time.Since(start)
	close(errs)
	for err := range errs {
		if err != nil {
			return took, err
		}
	}
	return took, nil
}

// redisGet runs redis-benchmark with n clients, sized by a short run first so that it lasts about as long as asked.
func redisGet(n int) func(context.Context, *targets, string, time.Duration) (result, error) {
	return func(ctx context.Context, _ *targets, addr string, length time.Duration) (result, error) {
		warmup := 2_000 + 200*n
		rate, err := redisRun(ctx, addr, n, warmup)
		if err != nil {
			return result{}, err
		}
		requests := int(rate * length.Seconds())
		rate, err = redisRun(ctx, addr, n, requests)
		return result{rate: rate, units: float64(warmup + requests)}, err
	}
}

func redisRun(ctx context.Context, addr string, clients, requests int) (rate float64, err error) {
	host, port, _ := net.SplitHostPort(addr)
	cmd := exec.CommandContext(ctx, "redis-benchmark", "-h", host, "-p", port, "-t", "get", "-c", strconv.Itoa(clients), "-n", strconv.Itoa(requests), "--csv")
	cmd.SysProcAttr = withParent()
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("redis-benchmark: %w", err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) == 0 || len(rows[len(rows)-1]) < 2 {
		return 0, fmt.Errorf("redis-benchmark printed %q", out)
	}
	return strconv.ParseFloat(rows[len(rows)-1][1], 64)
}
