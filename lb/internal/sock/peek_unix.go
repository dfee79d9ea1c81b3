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

func receive(fd int, b []byte, flags int) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, b, flags|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return n, err
		}
	}
}
