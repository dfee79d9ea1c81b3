package preface

import (
	"encoding/binary"
	"slices"
	"strings"
)

// MaxHello is how much of a stream is looked at for a ClientHello. Those of today have 250 bytes to 2 KiB.
const MaxHello = 16 << 10

const (
	recordHead   = 5   // type, version, length (RFC 8446, 5.1)
	messageHead  = 4   // type, length (RFC 8446, 4)
	maxRecords   = 64  // that a message is looked for in
	maxName      = 255 // bytes of a DNS name
	handshake    = 22
	clientHello  = 1
	maxPlaintext = 1 << 14
	serverName   = 0 // of extensions
	hostName     = 0 // of names
)

// Hello reads the name of the server that a client of TLS asks for, in lower case, from what its stream begins with. It is ""
// for one that asks for none, and for what is no ClientHello of at most MaxHello bytes in at most 64 records. If it takes more bytes to know,
// need says how many there have to be at least, b included; otherwise it is 0.
func Hello(b []byte) (name string, need int) {
	var message []byte
	at := 0
	for range maxRecords {
		rest := b[at:]
		if len(rest) > 0 && rest[0] != handshake || len(rest) > 1 && rest[1] != 3 {
			return "", 0
		}
		size := 1 // at least
		if len(rest) >= recordHead {
			if size = int(binary.BigEndian.Uint16(rest[3:])); size == 0 || size > maxPlaintext {
				return "", 0
			}
		}
		if need = at + recordHead + size; need > MaxHello {
			return "", 0
		}
		if need > len(b) {
			return "", need
		}
		if part := rest[recordHead : recordHead+size : recordHead+size]; message == nil {
			message = part
		} else {
			message = append(message, part...)
		}
		at = need
		if message[0] != clientHello {
			return "", 0
		}
		if len(message) >= messageHead && len(message) >= messageHead+int(binary.BigEndian.Uint32(message)&0xffffff) {
			return nameOf(message), 0
		}
	}
	return "", 0
}

// nameOf reads the server_name extension (RFC 6066, 3) of a ClientHello (RFC 8446, 4.1.2).
func nameOf(message []byte) string {
	m := fields(message[messageHead:])
	m.next(2 + 32) // version, random
	m.vector(1)    // session id
	m.vector(2)    // cipher suites
	m.vector(1)    // compression methods
	for extensions := m.vector(2); len(extensions) > 0; {
		kind, data := extensions.number(2), extensions.vector(2)
		if kind != serverName {
			continue
		}
		for names := data.vector(2); len(names) > 0; {
			if kind, name := names.number(1), names.vector(2); kind == hostName {
				return hostOf(name)
			}
		}
		return ""
	}
	return ""
}

// hostOf is a name as it is compared: that of a host has no other bytes than those between ! and ~, and no case.
func hostOf(name []byte) string {
	if len(name) > maxName || slices.ContainsFunc(name, func(b byte) bool { return b <= ' ' || b > '~' }) {
		return ""
	}
	return strings.ToLower(string(name))
}

// fields is the rest of a message. Whoever wants more of it than there is gets nothing, and leaves nothing.
type fields []byte

func (f *fields) next(n int) fields {
	if n > len(*f) {
		*f = nil
		return nil
	}
	part := (*f)[:n]
	*f = (*f)[n:]
	return part
}

func (f *fields) number(bytes int) (n int) {
	for _, b := range f.next(bytes) {
		n = n<<8 | int(b)
	}
	return n
}

// vector is what follows its length.
func (f *fields) vector(bytes int) fields { return f.next(f.number(bytes)) }
