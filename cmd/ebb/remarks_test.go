package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
)

func TestRemarks(t *testing.T) {
	feeds := []admin.Feed{{Pool: "p", Addr: "10.0.0.1:1"}, {Pool: "p", Addr: "10.0.0.2:1"}}
	s := &admin.Status{
		Pools:      []admin.Pool{{Name: "quiet"}, {Name: "held", Held: true, Waiting: 1}, {Name: "full", Waiting: 7}},
		LogDropped: 129,
		DNS: []admin.Name{
			{Name: "well", Type: "A", Kind: "ok", Peers: feeds},
			{Name: "well", Type: "AAAA", Kind: "nodata"},
			{Name: "fails", Type: "A", Kind: "failure", Age: 12, Failures: 3, Error: "no answer", Peers: feeds},
			{Name: "never", Type: "A", Kind: "failure", Failures: 1, Error: "no answer"},
			{Name: "empty", Type: "A", Kind: "nxdomain", Peers: feeds},
			{Name: "asked", Type: "A", Kind: "failure"},
			{Name: "typo", Type: "A", Kind: "nxdomain"},
			{Name: "typo", Type: "AAAA", Kind: "nxdomain"},
			{Name: "bare", Type: "A", Kind: "nodata"},
			{Name: "srv", Type: "SRV", Kind: "nodata"},
			{Name: "six", Type: "A", Kind: "nodata"},
			{Name: "six", Type: "AAAA", Kind: "failure"},
			{Name: "here", Type: "A", Resolver: "a", Kind: "ok"},
			{Name: "here", Type: "A", Resolver: "b", Kind: "nxdomain"},
		},
	}
	want := []string{
		"pool held is held by an operator, 1 client waiting: ebb release held",
		"pool full: 7 clients waiting for a peer",
		"log: 129 lines lost since the start: its target does not take them, or not in time",
		"name fails A: 3 failures, what an answer said 12s ago stays: 2 peers (no answer)",
		"name never A: 1 failure (no answer)",
		"name empty A: the answer is nxdomain, what was before stays as on_empty says: 2 peers",
		"name typo A: there is no such name",
		"name bare A: it has no address",
		"name srv SRV: it names no server",
		"name here A: there is no such name",
	}
	if got := remarks(s); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s.DNS = slices.Repeat(s.DNS[3:4], 20)
	if got := remarks(s); len(got) != mostRemarks+1 || got[mostRemarks] != "and 13 more such lines" {
		t.Errorf("%d lines: %q", len(got), got[len(got)-1])
	}
}
