package sock

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// KindOf names what a socket that somebody else has made is good for: "tcp" and "unix" for one that listens, "udp". Else the
// error says what it is.
func KindOf(f *os.File) (kind string, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return "", err
	}
	failed := c.Control(func(fd uintptr) {
		var typ, listens int
		var at unix.Sockaddr
		if typ, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
			return
		}
		if at, err = unix.Getsockname(int(fd)); err != nil {
			return
		}
		if typ == unix.SOCK_STREAM {
			if listens, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil {
				return
			}
		}
		kind, err = kindOf(at, typ, listens != 0)
	})
	return kind, errors.Join(failed, err)
}

func kindOf(at unix.Sockaddr, typ int, listens bool) (string, error) {
	_, path := at.(*unix.SockaddrUnix)
	_, v4 := at.(*unix.SockaddrInet4)
	_, v6 := at.(*unix.SockaddrInet6)
	switch {
	case typ == unix.SOCK_STREAM && !listens:
		return "", errors.New("it is one connection, and does not listen")
	case typ == unix.SOCK_STREAM && path:
		return "unix", nil
	case typ == unix.SOCK_STREAM && (v4 || v6):
		return "tcp", nil
	case typ == unix.SOCK_DGRAM && (v4 || v6):
		return "udp", nil
	}
	return "", fmt.Errorf("it is neither a listening socket of streams nor of UDP (type %d)", typ)
}

// PassedTCP listens on a socket of kind "tcp", which is asked for what Retune can change. The file stays the caller's, and the
// socket goes on listening for as long as that is open.
func PassedTCP(f *os.File, o *Options) (*net.TCPListener, error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	tcp := ln.(*net.TCPListener)
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { new(Options).Retune(int(fd), o) })
	}
	return tcp, nil
}

// PassedUDP is PassedTCP for a socket of kind "udp".
func PassedUDP(f *os.File) (*PacketConn, error) {
	pc, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	udp := pc.(*net.UDPConn)
	separateOf(udp)
	return newPacketConn(udp)
}
