package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// The conversation that goes on while ebb is busy with something else: so slow that the cores have time for both.
const (
	talkers   = 16
	talkEvery = 10 * time.Millisecond
)

// delays are how long messages of the conversation took, shortest first.
type delays []time.Duration

func (d delays) at(share float64) time.Duration { return d[int(share*float64(len(d)-1))] }

// late is what a client on the same machine notices.
const late = time.Millisecond

// describe gives the medians of several conversations, and in brackets their extremes; and how many messages of all of them were late,
// which is steadier where a few moments in each conversation decide.
func describe(rounds []delays) string {
	var parts []string
	for _, c := range []struct {
		name  string
		share float64
	}{{"p50", .5}, {"p99", .99}, {"most", 1}} {
		var each []time.Duration
		for _, d := range rounds {
			each = append(each, d.at(c.share).Round(10*time.Microsecond))
		}
		slices.Sort(each)
		parts = append(parts, fmt.Sprintf("%s %v (%v to %v)", c.name, each[len(each)/2], each[0], each[len(each)-1]))
	}
	all := slices.Concat(rounds...)
	n := 0
	for _, d := range all {
		if d > late {
			n++
		}
	}
	return strings.Join(append(parts, fmt.Sprintf("later than %v %.2f %%", late, 100*float64(n)/float64(len(all)))), ", ")
}

// converse has n connections to addr on each of which a message of 64 bytes goes there and back at each tick, for a while. A delay
// counts from the tick where the answer before was late, so that whoever is late with one message is late with those that had to
// wait for it, too; and else from when this process, whose sleep may be a millisecond too long, has come to send.
func converse(ctx context.Context, addr string, n int, every, length time.Duration) (delays, error) {
	all := make(chan delays, n)
	_, err := workers(n, length, func(until time.Time) error {
		d, err := talk(ctx, addr, every, until)
		all <- d
		return err
	})
	close(all)
	var sum delays
	for d := range all {
		sum = append(sum, d...)
	}
	slices.Sort(sum)
	return sum, err
}

func talk(ctx context.Context, addr string, every time.Duration, until time.Time) (d delays, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	message := make([]byte, 64)
	for due := time.Now(); due.Before(until) && ctx.Err() == nil; due = due.Add(every) {
		begin := due
		if early := time.Until(due); early > 0 {
			time.Sleep(early)
			begin = time.Now()
		}
		if _, err = c.Write(message); err == nil {
			_, err = io.ReadFull(c, message)
		}
		if err != nil {
			return d, err
		}
		d = append(d, time.Since(begin))
	}
	return d, nil
}
