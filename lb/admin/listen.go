package admin

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Settings say where a Server listens, and who may ask.
type Settings struct {
	Listen string      // "ADDRESS:PORT", or "unix:" and an absolute path
	Socket *os.File    // that listens already, whatever Listen says; nil is none. It stays the caller's
	Mode   fs.FileMode // of the socket at a path
	Group  int         // id of its group; -1 is that of the process
	Access
}

// bind makes the socket. local tells that no other host reaches it.
func (s *Settings) bind() (ln net.Listener, local bool, err error) {
	if s.Socket != nil {
		return s.share()
	}
	if path, ok := strings.CutPrefix(s.Listen, "unix:"); ok {
		ln, err = sock.ListenPath(context.Background(), path, s.Mode, s.Group)
		return ln, true, err
	}
	addr, err := netip.ParseAddrPort(s.Listen)
	if err != nil {
		return nil, false, fmt.Errorf("%q is not ADDRESS:PORT", s.Listen)
	}
	if local, err = s.reach(addr); err != nil {
		return nil, false, err
	}
	ln, err = net.Listen("tcp", addr.String())
	return ln, local, err
}

// reach tells whether only this host reaches an address. Others do only where there is a token.
func (s *Settings) reach(addr netip.AddrPort) (local bool, err error) {
	local = addr.Addr().Unmap().IsLoopback()
	if !local && s.Token == "" {
		return false, fmt.Errorf("%s is not a loopback address, and other hosts may ask only with a token", addr)
	}
	return local, nil
}

// share listens on the socket that there is.
func (s *Settings) share() (ln net.Listener, local bool, err error) {
	if ln, err = net.FileListener(s.Socket); err != nil {
		return nil, false, err
	}
	local = true
	if at, tcp := ln.Addr().(*net.TCPAddr); tcp {
		local, err = s.reach(at.AddrPort())
	}
	if err != nil {
		ln.Close()
		return nil, false, err
	}
	return ln, local, nil
}
