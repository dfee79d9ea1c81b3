package check

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// HTTP says what an "http" probe asks, and which answers mean health.
type HTTP struct {
	Method string // "": GET
	Path   string // with its query; "": /
	Host   string // of the Host header; "": the address asked
	Expect string // codes, as "200", "2xx", "200-399" or several with commas; "": 200-399
	Body   string // a regular expression that matches somewhere in the first 64 KiB of the body; "": whatever it is
}

const mostBody = 64 << 10 // bytes

// newHTTP is the "http" kind: an answer with the right code, and the right body, is life. Redirects are answers.
func newHTTP(o Options) (probeFunc, error) {
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	codes, err := parseCodes(or(o.HTTP.Expect, "200-399"))
	if err != nil {
		return nil, err
	}
	body, err := regexp.Compile(o.HTTP.Body)
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	scheme := "http"
	if w.certs != nil {
		scheme = "https"
	}
	at, err := url.Parse(or(o.HTTP.Path, "/"))
	if err != nil || !strings.HasPrefix(or(o.HTTP.Path, "/"), "/") {
		return nil, fmt.Errorf("path %q: not one", o.HTTP.Path)
	}
	return func(ctx context.Context, target netip.AddrPort) Result {
		u := *at
		u.Scheme, u.Host = scheme, w.to(target).String()
		request, err := http.NewRequestWithContext(ctx, or(o.HTTP.Method, http.MethodGet), u.String(), nil)
		if err != nil {
			return failed(err)
		}
		request.Host, request.Close = or(o.HTTP.Host, u.Host), true
		request.Header.Set("User-Agent", "ebb")
		start := time.Now()
		// No http.Transport: it writes to the process's log what it thinks of a server that floods it.
		c, err := w.open(ctx, target)
		if err != nil {
			return failed(err)
		}
		defer leave(c)
		if err := request.Write(c); err != nil {
			return failed(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(c), request)
		if err != nil {
			return httpFailed(err)
		}
		code := response.StatusCode
		if !codes.contains(code) {
			return Result{Reason: Unexpected, Detail: fmt.Sprintf("status %d, expected %s", code, or(o.HTTP.Expect, "200-399"))}
		}
		latency := time.Since(start)
		text, err := io.ReadAll(io.LimitReader(response.Body, mostBody))
		switch {
		case o.HTTP.Body == "": // the body was read so that the end is a plain one
		case err != nil:
			return httpFailed(err)
		case !body.Match(text):
			return Result{Reason: Unexpected, Detail: fmt.Sprintf("status %d, but the body does not match %s: %s", code, quote(o.HTTP.Body), quote(text))}
		}
		return Result{Alive: true, Reason: OK, Latency: latency}
	}, nil
}

// httpFailed is the result of an error while an answer is read. One that has no better reason is of the answer.
func httpFailed(err error) Result {
	r := failed(err)
	if r.Reason == Error {
		r.Reason = Garbled
	}
	return r
}

// codes are ranges of status codes, low and high.
type codes [][2]int

func (c codes) contains(code int) bool {
	for _, r := range c {
		if r[0] <= code && code <= r[1] {
			return true
		}
	}
	return false
}

func parseCodes(text string) (codes, error) {
	var out codes
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		low, high, ranged := strings.Cut(part, "-")
		if class, ok := strings.CutSuffix(part, "xx"); ok {
			low, high, ranged = class+"00", class+"99", true
		}
		if !ranged {
			high = low
		}
		a, err1 := strconv.Atoi(low)
		b, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || a < 100 || b > 599 || a > b {
			return nil, fmt.Errorf("status %q: not a code, a class as 2xx, or a range as 200-399", part)
		}
		out = append(out, [2]int{a, b})
	}
	return out, nil
}

// or is the first one, or the other if that is empty.
func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
