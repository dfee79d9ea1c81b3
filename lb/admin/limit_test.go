package admin

import (
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
)

// failingListener has its first accepts fail.
type failingListener struct {
	net.Listener
	left atomic.Int32
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.ENOMEM)}
	}
	return l.Listener.Accept()
}

func TestAnAcceptThatFailsDoesNotEndTheAPI(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failing := &failingListener{Listener: ln}
	failing.left.Store(3)
	served := make(chan error, 1)
	server := http.Server{Handler: http.NotFoundHandler()}
	go func() { served <- server.Serve(limit(failing, 1)) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	server.Close()
	if err := <-served; err != http.ErrServerClosed {
		t.Fatal(err)
	}
}
