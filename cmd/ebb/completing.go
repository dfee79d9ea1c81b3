package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

// completeTimeout is how long a shell may wait for the names of a running ebb.
const completeTimeout = time.Second

// named lists what a running ebb has that may stand where a shell completes, after the arguments that are there.
type named func(s *admin.Status, args []string) []string

// complete asks the running ebb. If it does not answer there is nothing to offer, files least of all.
func (a *adminFlags) complete(of named) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if a.usable(cmd) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		s, err := admin.NewClient(a.addr, a.token).Status(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list := of(&s, args)
		slices.Sort(list)
		return slices.Compact(list), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlags lets flags take live names.
func (a *adminFlags) completeFlags(cmd *cobra.Command, flags map[string]named) {
	for flag, of := range flags {
		if err := cmd.RegisterFlagCompletionFunc(flag, a.complete(of)); err != nil {
			panic(err) // the verb has no such flag
		}
	}
}

func listenerNames(s *admin.Status, _ []string) (names []string) {
	for _, l := range s.Listeners {
		names = append(names, l.Name)
	}
	return names
}

func poolNames(s *admin.Status, _ []string) (names []string) {
	for _, p := range s.Pools {
		names = append(names, p.Name)
	}
	return names
}

func dnsNames(s *admin.Status, _ []string) (names []string) {
	for _, n := range s.DNS {
		names = append(names, n.Name)
	}
	return names
}

// peerNames lists the peers of every pool, and what operators have said something of.
func peerNames(s *admin.Status, _ []string) (names []string) {
	for _, p := range s.Pools {
		names = append(names, peersOf(p)...)
	}
	return names
}

func peersOf(p admin.Pool) (names []string) {
	for _, peer := range p.Peers {
		names = append(names, peer.Addr)
	}
	for _, o := range p.Overrides {
		names = append(names, o.Addr)
	}
	return names
}

// first is of for the first argument; there is nothing to offer after it.
func first(of named) named {
	return func(s *admin.Status, args []string) []string {
		if len(args) > 0 {
			return nil
		}
		return of(s, args)
	}
}

// poolThenPeer is a pool, and then a peer of it.
func poolThenPeer(s *admin.Status, args []string) (names []string) {
	switch len(args) {
	case 0:
		return poolNames(s, args)
	case 1:
		for _, p := range s.Pools {
			if p.Name == args[0] {
				names = append(names, peersOf(p)...)
			}
		}
	}
	return names
}
