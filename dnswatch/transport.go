package dnswatch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	dialTimeout = 5 * time.Second  // to connect and shake hands, beyond the question that asked for it
	idleTCP     = 10 * time.Second // how long a connection without a question is kept (RFC 7766 section 6.2.3)
	idleTLS     = time.Minute      // handshakes are dear
)

// transport carries questions to one server. What it gives back is verified to be the reply, and parsed. It may be
// truncated.
type transport interface {
	exchange(context.Context, query) (*dns.Msg, error)
	close() // the kept connections, without waiting
}

// errDoubtful is the end of a question over UDP that TCP can settle, where nobody can guess an id or a port.
var errDoubtful = errors.New("doubtful reply")

// wire has the transports of one resolver. Kept connections are of one resolver, too: two resolvers never share.
type wire struct {
	roots   *x509.CertPool // nil: the system's
	discard func(reason string)
	ctx     context.Context // ends when the resolver is closed
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu         sync.Mutex
	transports map[server]transport
}

func newWire(roots *x509.CertPool, discard func(reason string)) *wire {
	w := &wire{roots: roots, discard: discard, transports: make(map[server]transport)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// exchange asks one server once.
func (w *wire) exchange(ctx context.Context, s server, q query) (*dns.Msg, error) {
	return w.transport(s).exchange(ctx, q)
}

func (w *wire) transport(s server) transport {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.transports[s]
	if t == nil {
		switch s.scheme {
		case schemeUDP:
			t = datagrams{s.addr, w.discard}
		case schemeTCP:
			t = newTCP(w, s)
		case schemeTLS:
			t = newTLS(w, s)
		case schemeHTTPS:
			t = newHTTPS(w, s)
		}
		w.transports[s] = t
	}
	return t
}

// close ends the kept connections and waits for their goroutines. No question may be under way.
func (w *wire) close() {
	w.cancel()
	w.mu.Lock()
	for _, t := range w.transports {
		t.close()
	}
	w.mu.Unlock()
	w.running.Wait()
}

// tlsConfig is strict: the certificate must hold for the server's name.
func (w *wire) tlsConfig(s server, protocols ...string) *tls.Config {
	return &tls.Config{
		ServerName: s.certified(), RootCAs: w.roots, MinVersion: tls.VersionTLS12, NextProtos: protocols,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
}

// loadRoots reads the CAs of a file, in addition to the system's.
func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in PEM form", file)
	}
	return roots, nil
}
