package sock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// Conn is a connection as net has it, whatever it goes over: TCP, or a path.
type Conn interface {
	net.Conn
	CloseWrite() error
	SyscallConn() (syscall.RawConn, error)
}

// Listener gives connections that are a Conn.
type Listener interface {
	net.Listener
	SyscallConn() (syscall.RawConn, error)
}

// ListenPath opens a listening unix socket at a path, which is free or has one that nobody serves any more. Nobody but the owner
// reaches it before its mode is set. group is the id of its group; -1 is that of the process. Closing it removes the path, unless
// SetUnlinkOnClose says otherwise.
func ListenPath(ctx context.Context, path string, mode fs.FileMode, group int) (*net.UnixListener, error) {
	if err := clearPath(path); err != nil {
		return nil, err
	}
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.Fchmod(int(fd), 0o600) // Linux gives the path this mode (unix(7)); others do not know it
		})
	}}
	ln, err := private.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if group >= 0 {
		err = os.Lchown(path, -1, group)
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln.(*net.UnixListener), nil
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
		_ = c.Close()
		return fmt.Errorf("listen unix %s: %w", path, syscall.EADDRINUSE)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s is there already: %w", path, err)
	}
	return os.Remove(path)
}
