package dnswatch

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"

	"github.com/miekg/dns"
)

// errHTTP is a response that is not a DNS message. Asking again will not change it.
var errHTTP = errors.New("HTTP")

const dnsMessage = "application/dns-message"

// posts asks by POST over one kept HTTP/2 connection (RFC 8484). No name is looked up, no proxy and no redirect followed.
type posts struct {
	http    *http.Transport
	url     *url.URL
	discard func(reason string)

	connected atomic.Bool
	gate      chan struct{} // held by the question that connects, lest all that wait do
}

func newHTTPS(w *wire, s server) *posts {
	dialer := &tls.Dialer{Config: w.tlsConfig(s, "h2")}
	host := s.certified()
	if s.name == "" && s.addr.Addr().Is6() {
		host = "[" + host + "]"
	}
	if s.addr.Port() != 443 {
		host += ":" + strconv.Itoa(int(s.addr.Port()))
	}
	p := &posts{url: &url.URL{Scheme: "https", Host: host, Path: s.path}, discard: w.discard, gate: make(chan struct{}, 1)}
	p.http = &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "tcp", s.addr.String())
			if err != nil {
				return nil, err
			}
			if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != "h2" {
				conn.Close()
				return nil, fmt.Errorf("%w: the server does not speak HTTP/2", errHTTP)
			}
			return conn, nil
		},
		ForceAttemptHTTP2:  true,
		HTTP2:              &http.HTTP2Config{SendPingTimeout: idleTCP, PingTimeout: dialTimeout},
		IdleConnTimeout:    idleTLS,
		DisableCompression: true,
	}
	return p
}

func (p *posts) close() { p.http.CloseIdleConnections() }

// exchange asks once more if a kept connection turns out to have ended.
func (p *posts) exchange(ctx context.Context, q query) (*dns.Msg, error) {
	packet, err := q.pack(0) // the same question is the same request (RFC 8484 section 4.1)
	if err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		m, kept, err := p.post(ctx, q, packet)
		if err == nil || again || !kept || ctx.Err() != nil || errors.Is(err, errHTTP) || errors.Is(err, errMalformed) {
			return m, err
		}
	}
}

// post sends one request. kept tells that it went over a connection that had served before.
func (p *posts) post(ctx context.Context, q query, packet []byte) (m *dns.Msg, kept bool, err error) {
	var holds atomic.Bool
	release := func() {
		if holds.CompareAndSwap(true, false) {
			<-p.gate
		}
	}
	if !p.connected.Load() {
		select {
		case p.gate <- struct{}{}:
			holds.Store(true)
			if p.connected.Load() {
				release()
			}
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	defer release()
	var reused atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		reused.Store(i.Reused)
		p.connected.Store(true)
		release()
	}})
	request := (&http.Request{
		Method: http.MethodPost, URL: p.url, Host: p.url.Host, ContentLength: int64(len(packet)),
		Body:   io.NopCloser(bytes.NewReader(packet)),
		Header: http.Header{"Content-Type": {dnsMessage}, "Accept": {dnsMessage}, "User-Agent": nil},
	}).WithContext(traced)
	response, err := p.http.RoundTrip(request)
	if err != nil {
		p.connected.Store(false)
		if ctx.Err() == context.DeadlineExceeded {
			p.http.CloseIdleConnections() // perhaps nothing comes through it any more
		}
		return nil, reused.Load(), err
	}
	defer response.Body.Close()
	m, err = p.read(response, q)
	return m, reused.Load(), err
}

func (p *posts) read(response *http.Response, q query) (*dns.Msg, error) {
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w status %d", errHTTP, response.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != dnsMessage {
		return nil, fmt.Errorf("%w content type %q", errHTTP, response.Header.Get("Content-Type"))
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	n, err := io.ReadFull(response.Body, *buffer)
	if err == nil {
		return nil, fmt.Errorf("%w: more than %d bytes over HTTP", errMalformed, len(*buffer)-1)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	m, discard, err := q.verify((*buffer)[:n], 0)
	if discard != "" {
		p.discard(discard)
		return nil, fmt.Errorf("%w: %s over HTTP", errMalformed, discard)
	}
	if err == nil {
		grow(m, response.Header.Get("Age"))
	}
	return m, err
}

// grow takes from the TTLs the time that the response has been in an HTTP cache (RFC 8484 section 5.1).
func grow(m *dns.Msg, age string) {
	seconds, err := strconv.ParseUint(age, 10, 32)
	if err != nil {
		return
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(h.Ttl, uint32(seconds))
			}
		}
	}
}
