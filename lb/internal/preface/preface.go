// Package preface is what a stream begins with: the header of the PROXY protocol, versions 1 and 2, which tells a server
// behind a proxy who its client is; and the ClientHello of TLS, which tells whom the client wants.
//
//	b := preface.Format(2, client, local)
//	h, n, err := preface.Parse(b)
//	name, need := preface.Hello(b)
//
// The model: bytes in, addresses and names out, and the other way round. It reads no sockets, and it trusts nobody: whom to believe is
// the caller's business.
package preface

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// Max is the most bytes that a header may have: the 16 that every one of version 2 begins with, and 4096 more, which is
// room for a certificate. The longest of version 1 has 107.
const Max = 16 + 4096

const maxV1 = 107

// Header is what one says: the client, and what it connected to. Both are the zero value if it names nobody: the connection
// is then the proxy's own, or one whose addresses are none of TCP/IP.
type Header struct{ Client, Local netip.AddrPort }

// Format makes a header of version 1 or 2. Without valid addresses it names nobody.
func Format(version byte, client, local netip.AddrPort) []byte {
	h := &proxyproto.Header{Version: version, Command: proxyproto.LOCAL}
	switch {
	case client.IsValid() && local.IsValid():
		h = proxyproto.HeaderProxyFromAddrs(version, tcp(client), tcp(local))
	case version == 1:
		return []byte("PROXY UNKNOWN\r\n")
	}
	b, err := h.Format()
	if err != nil {
		panic("preface: " + err.Error()) // two valid addresses have a form in both versions
	}
	return b
}

// tcp is an address without its zone, which no header has room for.
func tcp(a netip.AddrPort) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.Addr().WithZone(""), a.Port()))
}

// The errors of Parse, beside those of the library.
var (
	ErrNone = errors.New("no header of the PROXY protocol")
	errLong = fmt.Errorf("a header longer than %d bytes, or %d in version 1", Max, maxV1)
	errMore = errors.New("more than one header")
)

// Parse reads the header that b begins with and says how many bytes it has. With no bytes and no error it is not complete:
// all of b belongs to it, and more has to come. b is never longer than Max and not a header yet.
func Parse(b []byte) (h Header, n int, err error) {
	n, err = length(b)
	if n == 0 || err != nil || n > len(b) {
		return Header{}, 0, err
	}
	if version2(b) && b[12] == byte(proxyproto.PROXY) && b[13] == byte(proxyproto.UNSPEC) {
		return Header{}, n, nil // up to the receiver (2.2 of the protocol): who it is for is not known, and it is served
	}
	r := bufio.NewReaderSize(bytes.NewReader(b[:n]), Max)
	p, err := proxyproto.Read(r)
	if err != nil {
		return Header{}, 0, err
	}
	if r.Buffered() > 0 {
		return Header{}, 0, errMore
	}
	if _, err := p.TLVs(); err != nil {
		return Header{}, 0, err
	}
	from, to, ok := p.TCPAddrs()
	if p.Command.IsLocal() || !ok {
		return Header{}, n, nil
	}
	return Header{unmap(from.AddrPort()), unmap(to.AddrPort())}, n, nil
}

// length is how long the header is that b begins with, as far as b tells: 0 is not known yet.
func length(b []byte) (int, error) {
	switch {
	case version2(b):
		if len(b) < 16 {
			return 0, nil
		}
		n := 16 + int(binary.BigEndian.Uint16(b[14:]))
		if n > Max {
			return 0, errLong
		}
		return n, nil
	case !begins(b, proxyproto.SIGV1):
		return 0, ErrNone
	}
	line := b[:min(len(b), maxV1)]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		return i + 1, nil
	}
	if len(line) == maxV1 {
		return 0, errLong
	}
	return 0, nil
}

func version2(b []byte) bool { return len(b) > 0 && begins(b, proxyproto.SIGV2) }

// begins tells that b begins with a signature, as far as b goes.
func begins(b, signature []byte) bool {
	n := min(len(b), len(signature))
	return bytes.Equal(b[:n], signature[:n])
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
