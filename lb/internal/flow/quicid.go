package flow

// maxQUICID is how long a connection id may be (RFC 9000, 17.2).
const maxQUICID = 20

// quicID is a connection id, or the part of one that names its server, with zeros behind it. All of one table have one length.
type quicID [maxQUICID]byte

func newQUICID(b []byte) (id quicID) {
	copy(id[:], b)
	return id
}

// isLong tells a long header, which says how long its ids are (RFC 8999, 5.1).
func isLong(b []byte) bool { return len(b) > 0 && b[0]&0x80 != 0 }

// longIDs reads the ids of a long header: version 4 bytes from 1, then each with its length before it. A version of 0 is a
// version negotiation, whose ids are the client's own (RFC 8999, 6).
func longIDs(b []byte) (destination, source []byte, ok bool) {
	const version = 4
	if !isLong(b) || len(b) < 1+version || [version]byte(b[1:]) == [version]byte{} {
		return nil, nil, false
	}
	destination, rest, ok := counted(b[1+version:])
	if !ok {
		return nil, nil, false
	}
	source, _, ok = counted(rest)
	return destination, source, ok
}

// counted takes off what has its length in a byte before it.
func counted(b []byte) (head, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	to := 1 + int(b[0])
	if len(b) < to {
		return nil, nil, false
	}
	return b[1:to], b[to:], true
}

// askedID is the id of n bytes by which a client's datagram names its connection; the first packet in it counts. A short
// header has the id behind its first byte (RFC 9000, 17.3).
func askedID(b []byte, n int) (id []byte, ok bool) {
	if !isLong(b) {
		if len(b) < 1+n {
			return nil, false
		}
		return b[1 : 1+n], true
	}
	id, _, ok = longIDs(b)
	return id, ok && len(id) == n
}

// givenID is the id of n bytes by which a server wants its connection to be named. Only a long header tells it: short ones
// have the client's.
func givenID(b []byte, n int) (id []byte, ok bool) {
	_, id, ok = longIDs(b)
	return id, ok && len(id) == n
}
