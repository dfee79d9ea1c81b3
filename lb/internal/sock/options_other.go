//go:build !linux || !(amd64 || arm64)

package sock

import (
	"errors"
	"net/netip"
	"syscall"
)

// What is beyond net is Linux only: Probe says so before anything else is tried.

func (o *Options) listen(int, netip.Addr, bool) error { return nil }

func (o *Options) dial(int, netip.Addr, netip.Addr, int, bool) error { return nil }

// Retune does nothing here.
func (o *Options) Retune(int, *Options) {}

// Control does nothing here.
func (o *Options) Control(string, string, syscall.RawConn) error { return nil }

// Probe refuses whatever is asked for beyond what net does everywhere.
func (o *Options) Probe(_, _, _ bool) (missing []*OptionError) {
	rest := *o
	rest.Nagle, rest.KeepAlive, rest.Listening.V6Only = false, KeepAlive{}, false
	if rest != (Options{}) {
		missing = append(missing, &OptionError{"socket", errors.ErrUnsupported})
	}
	return missing
}
