//go:build unix

package sock

import "golang.org/x/sys/unix"

// Peek reads what is there without taking it off the socket. It does not block: unix.EAGAIN is nothing yet; 0 bytes are the
// end of the stream.
func Peek(fd int, b []byte) (int, error) { return receive(fd, b, unix.MSG_PEEK) }

// Take takes bytes off the socket that Peek has shown.
func Take(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := receive(fd, b, 0)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// AwaitBytes has the socket count as readable only when n bytes are there, or its end; 1 is as ever. It is false if the socket
// may never hold so many.
func AwaitBytes(fd, n int) bool {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) != nil {
		return false
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT) // Linux cuts it to half of the buffer
	return err == nil && got >= n
}

func receive(fd int, b []byte, flags int) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, b, flags|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return n, err
		}
	}
}
