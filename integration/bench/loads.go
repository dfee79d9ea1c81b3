package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// load is one kind of work. run puts it on an address for a while and returns the rate in units each second, and how
// many units were done in all, warm-up included.
type load struct {
	name, unit string
	network    string  // tcp, udp
	cpuUnit    float64 // CPU is shown for this many units
	cpuLabel   string
	target     func(*targets) string
	run        func(ctx context.Context, t *targets, addr string, length time.Duration) (rate, units float64, err error)
}

// redisLoad is the one that needs a server of its own.
const redisLoad = "redis GET, 50 clients"

var loads = []load{
	{"connect, 1 byte each way, close", "conn/s", "tcp", 100_000, "CPU s per 100k", func(t *targets) string { return t.echo }, connectClose},
	{redisLoad, "req/s", "tcp", 100_000, "CPU s per 100k", func(t *targets) string { return t.redis }, redisGet},
	{"64-byte ping-pong, 50 connections", "msg/s", "tcp", 100_000, "CPU s per 100k", func(t *targets) string { return t.echo }, pingPong},
	{"bulk, 1 stream", "GB/s", "tcp", 1, "CPU s per GB", func(t *targets) string { return t.source }, bulk},
	{"UDP 64-byte round trips, 16 flows", "msg/s", "udp", 100_000, "CPU s per 100k", func(t *targets) string { return t.udpEcho }, udpRoundTrips},
	{"UDP one way, 1200 bytes, 4 flows", "datagrams/s", "udp", 100_000, "CPU s per 100k", func(t *targets) string { return t.udpSink }, udpOneWay},
}

// connectClose makes connections one after the other in 16 workers: connect, send a byte, read it back, close. Source
// ports do not run out: on loopback Linux uses those in TIME_WAIT again (tcp_tw_reuse, 2 by default since 4.19).
func connectClose(ctx context.Context, _ *targets, addr string, length time.Duration) (rate, units float64, err error) {
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
	units = float64(done.Load())
	return units / took.Seconds(), units, err
}

func pingPong(ctx context.Context, _ *targets, addr string, length time.Duration) (rate, units float64, err error) {
	var done atomic.Int64
	took, err := workers(50, length, func(until time.Time) error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		b := make([]byte, 64)
		n := int64(0)
		for ; n%64 != 0 || time.Now().Before(until) && ctx.Err() == nil; n++ {
			if _, err = c.Write(b); err == nil {
				_, err = io.ReadFull(c, b)
			}
			if err != nil {
				return err
			}
		}
		done.Add(n)
		return nil
	})
	units = float64(done.Load())
	return units / took.Seconds(), units, err
}

// bulk reads from one connection as fast as it comes.
func bulk(ctx context.Context, _ *targets, addr string, length time.Duration) (rate, units float64, err error) {
	var bytes atomic.Int64
	took, err := workers(1, length, func(until time.Time) error {
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
	})
	units = float64(bytes.Load()) / 1e9
	return units / took.Seconds(), units, err
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

// redisGet runs redis-benchmark, sized by a short run first so that it lasts about as long as asked.
func redisGet(ctx context.Context, _ *targets, addr string, length time.Duration) (rate, units float64, err error) {
	const warmup = 10_000
	if rate, err = redisRun(ctx, addr, warmup); err != nil {
		return 0, 0, err
	}
	n := int(rate * length.Seconds())
	rate, err = redisRun(ctx, addr, n)
	return rate, float64(warmup + n), err
}

func redisRun(ctx context.Context, addr string, n int) (rate float64, err error) {
	host, port, _ := net.SplitHostPort(addr)
	cmd := exec.CommandContext(ctx, "redis-benchmark", "-h", host, "-p", port, "-t", "get", "-c", "50", "-n", strconv.Itoa(n), "--csv")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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
