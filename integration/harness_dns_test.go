//go:build linux

package integration

import (
	"slices"
	"testing"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

// startDNS runs a scripted DNS server for the test.
func startDNS(t *testing.T) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// awaitPeers waits until the newest epoch lists exactly these addresses, which are sorted.
func (e *ebb) awaitPeers(t *testing.T, addrs ...string) {
	t.Helper()
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("peers %v, expected %v", got, addrs)
		}
	}()
	eventually(t, "the peers", func() bool {
		got = e.poolStatus(t).listed()
		return slices.Equal(got, addrs)
	})
}
