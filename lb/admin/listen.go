package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
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
		ln, err = s.bindPath(path)
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

// bindPath makes a socket at a path, which is free or has one that nobody serves any more. Nobody but the owner reaches it
// before its mode is set.
func (s *Settings) bindPath(path string) (net.Listener, error) {
	if err := clearPath(path); err != nil {
		return nil, err
	}
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.Fchmod(int(fd), 0o600) // Linux gives the path this mode (unix(7)); others do not know it
		})
	}}
	ln, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if s.Group >= 0 {
		err = os.Lchown(path, -1, s.Group)
	}
	if err == nil {
		err = os.Chmod(path, s.Mode)
	}
	if err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// clearPath removes a socket that a process left when it died.
func clearPath(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there already, and is no socket", path)
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("listen unix %s: %w", path, syscall.EADDRINUSE)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s is there already: %w", path, err)
	}
	return os.Remove(path)
}
