package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode"
)

// Reasons of a [Result].
const (
	OK          = "ok"
	Refused     = "refused"     // the connection was
	Timeout     = "timeout"     // no answer, or not all of it, in time
	Unreachable = "unreachable" // says the network
	Closed      = "closed"      // the connection ended before the answer did
	BadTLS      = "tls"         // no TLS there, or with a certificate that will not do
	Garbled     = "protocol"    // this is not what a server of the kind says
	Denied      = "denied"      // the login, or what it may do
	Unready     = "unready"     // it answers that it cannot serve yet, or no more
	TooBusy     = "full"        // it has no connection to spare
	Unexpected  = "unexpected"  // an answer, but not one that means health
	Leaving     = "drain"       // it asks for no new sessions
	SaysDown    = "down"        // it says so itself
	Error       = "error"       // anything else; Detail has it
	Local       = "local"       // this host could not try; says nothing about the peer
)

// reason puts an error into one word.
func reason(err error) string {
	var f *failure
	if errors.As(err, &f) {
		return f.reason
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	if isTLS(err) {
		return BadTLS
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
	{io.EOF, Closed},
	{io.ErrUnexpectedEOF, Closed},
	{syscall.ECONNRESET, Closed},
	{syscall.EPIPE, Closed},
	{errTooMuch, Garbled},
}

func isTLS(err error) bool {
	var alert tls.AlertError
	var header tls.RecordHeaderError
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &alert) || errors.As(err, &header) || errors.As(err, &cert) || errors.As(err, &unknown)
}

// failure is an error whose reason is known where it is made.
type failure struct {
	reason string
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// failed is the result of an error.
func failed(err error) Result { return Result{Reason: reason(err), Detail: oneLine(err.Error())} }

// oneLine is text as a detail may be: on one line, readable, and not long.
func oneLine(s string) string {
	return clip(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?")), 300)
}

// quote shows what a target sent, cut, and on one line.
func quote[T string | []byte](b T) string { return strconv.QuoteToASCII(clip(string(b), 64)) }

// clip cuts what is long. Details go into logs and pages: what a target says must not fill them.
func clip(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
