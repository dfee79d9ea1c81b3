package lb

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/ebb-lb/ebb/lb/config"
)

// An address that cannot be bound comes with what to do about it.
func TestAdvise(t *testing.T) {
	at := func(port uint16) config.Endpoint {
		return config.Endpoint{Network: "tcp", Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}
	}
	for _, test := range []struct {
		errno error
		at    config.Endpoint
		want  string // what follows the error
	}{
		{syscall.EADDRINUSE, at(5432), ": ss -ltunp 'sport = :5432' says who has it"},
		{syscall.EADDRNOTAVAIL, at(5432), ": no interface has this address; with socket.freebind one may listen on it all the same"},
		{syscall.EACCES, at(443), ": ports below 1024 take CAP_NET_BIND_SERVICE, as ebb's unit for systemd gives it"},
		{syscall.EACCES, at(5432), ""},
		{syscall.EINVAL, at(443), ""},
		{syscall.EADDRINUSE, config.Endpoint{Network: "unix", Path: "/run/ebb/x.sock"}, ""},
	} {
		err := &net.OpError{Op: "listen", Net: "tcp4", Err: os.NewSyscallError("bind", test.errno)}
		got := advise(err, test.at)
		if !errors.Is(got, test.errno) || strings.TrimPrefix(got.Error(), err.Error()) != test.want {
			t.Errorf("%v on %v: %v", test.errno, test.at, got)
		}
	}
	if advise(nil, at(1)) != nil {
		t.Error("nothing is wrong, and it is an error")
	}
}
