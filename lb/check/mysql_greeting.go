package check

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// packet is one packet of MySQL's protocol: three bytes of length, a number, and a body.
type packet struct {
	number byte
	body   []byte
}

// mostPacket is the longest body that a greeting, or the answer to a login, has.
const mostPacket = 16 << 10

func readPacket(r io.Reader) (packet, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(r, header); err != nil {
		return packet{}, err
	}
	size := int(header[0]) | int(header[1])<<8 | int(header[2])<<16
	if size == 0 || size > mostPacket {
		return packet{}, &failure{Garbled, fmt.Errorf("no MySQL: begins with %s", quote(header))}
	}
	p := packet{number: header[3], body: make([]byte, size)}
	_, err := io.ReadFull(r, p.body)
	return p, err
}

func (p packet) bytes() []byte {
	n := len(p.body)
	return append([]byte{byte(n), byte(n >> 8), byte(n >> 16), p.number}, p.body...)
}

// Capabilities of a client (include/mysql_com.h).
const (
	clientLongPassword     = 1 << 0
	clientProtocol41       = 1 << 9
	clientSSL              = 1 << 11
	clientSecureConnection = 1 << 15
	clientPluginAuth       = 1 << 19
)

// greeting is what a server says first, as far as it matters here.
type greeting struct {
	version      string
	capabilities uint32
}

// parseGreeting reads the body of a server's first packet: a greeting of version 10 of the protocol, or the error of one
// that will not talk.
func parseGreeting(body []byte) (greeting, error) {
	if body[0] == 0xff {
		return greeting{}, mysqlSaid(body)
	}
	version, rest, ok := bytes.Cut(body[1:], []byte{0})
	if body[0] != 10 || !ok || len(rest) < 4+8+1+2 {
		return greeting{}, &failure{Garbled, fmt.Errorf("no greeting of MySQL: %s", quote(body))}
	}
	g := greeting{version: string(version), capabilities: uint32(binary.LittleEndian.Uint16(rest[13:]))}
	if rest = rest[15:]; len(rest) >= 5 { // charset, status, the upper half
		g.capabilities |= uint32(binary.LittleEndian.Uint16(rest[3:])) << 16
	}
	return g, nil
}

// mysqlError is an error packet as a Go error.
type mysqlError struct {
	number  uint16
	message string
}

func (e *mysqlError) Error() string { return fmt.Sprintf("%s (%d)", e.message, e.number) }

func mysqlSaid(body []byte) error {
	if len(body) < 3 {
		return &failure{Garbled, fmt.Errorf("no error of MySQL: %s", quote(body))}
	}
	message := body[3:]
	if len(message) >= 6 && message[0] == '#' { // a state before it, once the versions are settled
		message = message[6:]
	}
	return &mysqlError{binary.LittleEndian.Uint16(body[1:]), string(message)}
}

// stranger is who asks when there is no user: no such account should exist, and if it does, without a password, all is well.
const stranger = "ebb"

const strangerCapabilities = clientLongPassword | clientProtocol41 | clientSecureConnection | clientPluginAuth

var quitPacket = packet{0, []byte{1}}.bytes() // COM_QUIT

// greet is the probe without a user.
func (p *mysqlProbe) greet(ctx context.Context, target netip.AddrPort) Result {
	ctx, cancel := finishing(ctx)
	defer cancel()
	start := time.Now()
	g, err := p.meet(ctx, target)
	if err != nil {
		return greetFailed(err)
	}
	g.again = nil // it was read
	latency := time.Since(start)
	defer func() { g.leave(ctx.Err() != nil && p.way.certs == nil) }()
	var c link = g
	number, capabilities := byte(1), uint32(strangerCapabilities)
	if p.way.certs != nil {
		capabilities |= clientSSL
		if _, err := c.Write(packet{number, loginHead(capabilities)}.bytes()); err != nil {
			return failed(err)
		}
		if c, err = p.way.secure(ctx, g.conn, target); err != nil {
			return failed(err)
		}
		number++
	}
	if _, err := c.Write(packet{number, strangerLogin(capabilities)}.bytes()); err != nil {
		return failed(err)
	}
	for range 3 { // a server may want another plugin first
		answer, err := readPacket(c)
		if err != nil {
			return greetFailed(err)
		}
		switch answer.body[0] {
		case 0: // it let the stranger in
			_, _ = c.Write(quitPacket)
			return Result{Alive: true, Reason: OK, Latency: latency}
		case 0xff:
			r := greetFailed(mysqlSaid(answer.body))
			r.Latency = latency
			if r.Reason == Denied {
				r.Alive, r.Reason = true, OK
			}
			return r
		case 0xfe, 1:
			if _, err := c.Write([]byte{0, 0, 0, answer.number + 1}); err != nil {
				return failed(err)
			}
		default:
			return failed(&failure{Garbled, fmt.Errorf("no answer to a login: %s", quote(answer.body))})
		}
	}
	return Result{Alive: true, Reason: OK, Latency: latency}
}

// strangerLogin is the login of a user that should not be there, without a password.
func strangerLogin(capabilities uint32) []byte {
	return append(loginHead(capabilities), stranger+"\x00\x00mysql_native_password\x00"...)
}

// loginHead begins a login: capabilities, the longest packet, a character set (utf8), and 23 bytes of nothing.
func loginHead(capabilities uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, capabilities)
	b = binary.LittleEndian.AppendUint32(b, 1<<24-1)
	return append(append(b, 33), make([]byte, 23)...)
}

func greetFailed(err error) Result {
	var said *mysqlError
	if errors.As(err, &said) {
		return mysqlRefused(said.number, said.message)
	}
	return failed(err)
}
