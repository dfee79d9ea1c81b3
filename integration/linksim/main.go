//go:build linux

// Command linksim joins two network namespaces by a link that delays, loses, repeats and damages packets, until it is
// interrupted. SIGUSR1 parts the ends, SIGUSR2 joins them again. At the end it says what it has done.
//
//	ip netns add left; ip netns add right
//	go run ./integration/linksim -a left -b right -delay 5ms -jitter 4ms -loss .005 -duplicate .01 -corrupt .005
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/ebb-lb/ebb/integration/link"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "linksim:", err)
		os.Exit(1)
	}
}

func run() error {
	var f link.Faults
	a := flag.String("a", "", "the one network namespace (ip netns add)")
	b := flag.String("b", "", "the other")
	flag.DurationVar(&f.Delay, "delay", 0, "of each packet")
	flag.DurationVar(&f.Jitter, "jitter", 0, "more delay, from 0 to this")
	flag.Float64Var(&f.Loss, "loss", 0, "share of packets that are lost, 0 to 1")
	flag.Float64Var(&f.Duplicate, "duplicate", 0, "share of packets that come twice")
	flag.Float64Var(&f.Corrupt, "corrupt", 0, "share of packets that are damaged")
	flag.IntVar(&f.Queue, "queue", 0, "packets under way in one direction, others are lost; 0 is 10000")
	device := flag.String("device", "link0", "name of the device in both namespaces")
	left := flag.String("a-address", "10.255.0.1/30", "IPv4 address and prefix length in the one namespace")
	right := flag.String("b-address", "10.255.0.2/30", "and in the other")
	seed := flag.Uint64("seed", 1, "of all that is random")
	flag.Parse()

	var ends [2]link.End
	for i, e := range []struct{ flag, name, address string }{{"a", *a, *left}, {"b", *b, *right}} {
		if e.name == "" {
			return fmt.Errorf("-%s: expected the name of a network namespace", e.flag)
		}
		space, err := link.NamedSpace(e.name)
		if err != nil {
			return fmt.Errorf("-%s: %w", e.flag, err)
		}
		defer space.Close()
		address, err := netip.ParsePrefix(e.address)
		if err != nil {
			return fmt.Errorf("-%s-address: %w", e.flag, err)
		}
		ends[i] = link.End{Space: space, Device: *device, Address: address}
	}
	l, err := link.Join(ends[0], ends[1], f, *seed)
	if err != nil {
		return err
	}
	defer l.Close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGTERM)
	for s := range signals {
		switch s {
		case syscall.SIGUSR1, syscall.SIGUSR2:
			l.Part(s == syscall.SIGUSR1)
		default:
			fmt.Printf("%+v\n", l.Counts())
			return nil
		}
	}
	return nil
}
