package check

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// RESP 2, the protocol of Redis. It is not taken from a client library: go-redis makes room for as many bytes as a server
// announces, be it Redis or not.

// Bounds of a reply.
const (
	mostRespLine  = 4 << 10  // bytes
	mostRespBulk  = 64 << 10 // bytes
	mostRespItems = 4096     // in all lists of a reply together
	mostRespDepth = 8
)

// respError is an error that the server gave as its reply.
type respError string

func (e respError) Error() string { return oneLine(string(e)) }

var errResp = errors.New("no reply of Redis")

// resp speaks to one server.
type resp struct {
	w io.Writer
	r *bufio.Reader
}

func newResp(c io.ReadWriter) *resp { return &resp{c, bufio.NewReaderSize(c, mostRespLine)} }

// ask sends one command and reads its reply: a string, an int64, nil or a []any of them. The error of a server is a
// respError.
func (r *resp) ask(words ...string) (any, error) {
	b := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := r.w.Write(b); err != nil {
		return nil, err
	}
	items := 0
	return readResp(r.r, &items, 0)
}

// readResp reads one reply.
func readResp(r *bufio.Reader, items *int, depth int) (any, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			err = noResp(line)
		}
		return nil, err
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || len(text) == 0 {
		return nil, noResp(line)
	}
	word := string(text[1:])
	switch text[0] {
	case '+':
		return word, nil
	case '-':
		return nil, respError(word)
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return nil, noResp(line)
	}
	switch {
	case text[0] == ':':
		return n, nil
	case n == -1 && (text[0] == '$' || text[0] == '*'):
		return nil, nil
	case text[0] == '$' && n >= 0 && n <= mostRespBulk:
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		if b[n] != '\r' || b[n+1] != '\n' {
			return nil, noResp(b)
		}
		return string(b[:n]), nil
	case text[0] == '*' && n >= 0 && depth < mostRespDepth && int(min(n, mostRespItems+1))+*items <= mostRespItems:
		*items += int(n)
		list := make([]any, 0, n)
		for range n {
			item, err := readResp(r, items, depth+1)
			var inside respError
			if errors.As(err, &inside) {
				item, err = string(inside), nil
			}
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		return list, nil
	}
	return nil, noResp(line)
}

func noResp(line []byte) error { return &failure{Garbled, fmt.Errorf("%w: %s", errResp, quote(line))} }
