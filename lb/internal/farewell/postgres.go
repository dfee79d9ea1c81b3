package farewell

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// Requests that a client may begin with, besides a start-up of version 3
// (https://www.postgresql.org/docs/current/protocol-message-formats.html).
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssRequest    = 80877104

	maxStartup = 10000 // bytes; MAX_STARTUP_PACKET_LENGTH
)

var errNotPostgres = errors.New("not the protocol of PostgreSQL")

// postgres refuses encryption, waits for the start-up and answers it with an ErrorResponse.
func postgres(r *bufio.Reader, w io.Writer, why Reason) error {
	for range 3 { // for TLS, for GSSAPI, and the start-up
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n, code := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		if n < 8 || n > maxStartup {
			return errNotPostgres
		}
		if _, err := r.Discard(int(n) - 8); err != nil {
			return err
		}
		switch {
		case code == sslRequest, code == gssRequest:
			if _, err := w.Write([]byte{'N'}); err != nil {
				return err
			}
		case code == cancelRequest: // is never answered
			return nil
		case code>>16 == 3:
			_, err := w.Write(postgresError(why))
			return err
		default:
			return errNotPostgres
		}
	}
	return errNotPostgres
}

// postgresError is what a server says that has too many connections, or cannot be connected to now.
func postgresError(why Reason) []byte {
	code := "57P03" // cannot_connect_now
	if why.Busy {
		code = "53300" // too_many_connections
	}
	b := []byte{'E', 0, 0, 0, 0}
	for _, field := range []string{"SFATAL", "VFATAL", "C" + code, "M" + why.String()} {
		b = append(append(b, field...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	return b
}
