package check

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// A server that greets first (MySQL, SMTP, SSH) has sent bytes by the time the probe closes, and closing a socket with
// unread bytes sends a reset. So the probe says FIN, reads what there is until the server's own FIN, and only then
// closes; a server that does neither in time, or talks on and on, is left.
const (
	politeTime  = 100 * time.Millisecond
	politeBytes = 64 << 10
)

// probeTCP is the "tcp" kind: a connection that can be made is life.
func probeTCP(ctx context.Context, target netip.AddrPort) Result {
	start := time.Now()
	dialer := net.Dialer{KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return Result{Reason: reason(err), Detail: err.Error()}
	}
	defer conn.Close()
	latency := time.Since(start)
	// Where nobody listens on a local port of the ephemeral range, the kernel may pick that very port as the source and
	// connect the socket to itself. Dial tries again when it sees that, but only twice.
	if conn.LocalAddr().String() == conn.RemoteAddr().String() {
		return Result{Reason: Refused, Detail: "connected to itself: nothing listens on " + target.String(), Latency: latency}
	}
	leave(ctx, conn.(*net.TCPConn))
	return Result{Alive: true, Reason: OK, Latency: latency}
}

// leave ends the connection so that the server sees a plain end. What goes wrong here says nothing about the peer.
func leave(ctx context.Context, conn *net.TCPConn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if conn.SetReadDeadline(time.Now().Add(politeTime)) == nil && conn.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, politeBytes)
	}
}

// reason puts an error of a connect into one word.
func reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return Error
}

// In this order: a dial that ran into its deadline may wrap more than one of these.
var reasons = []struct {
	err  error
	word string
}{
	{syscall.ECONNREFUSED, Refused},
	{syscall.EMFILE, Local},
	{syscall.ENFILE, Local},
	{syscall.ENOMEM, Local},
	{syscall.ENOBUFS, Local},
	{syscall.EADDRNOTAVAIL, Local}, // no free source port
	{syscall.EHOSTUNREACH, Unreachable},
	{syscall.ENETUNREACH, Unreachable},
	{syscall.EHOSTDOWN, Unreachable},
	{syscall.ENETDOWN, Unreachable},
	{context.DeadlineExceeded, Timeout},
	{os.ErrDeadlineExceeded, Timeout},
	{syscall.ETIMEDOUT, Timeout},
}
