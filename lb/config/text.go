package config

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// line reads text of one line, of at most 1000 bytes and without control characters.
func (v value) line(dst *string, what string) {
	s, ok := v.text(what)
	if !ok {
		return
	}
	if len(s) > 1000 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		v.unexpected("%s: one line of at most 1000 bytes, without control characters", what)
		return
	}
	*dst = s
}

// tlsName reads what a certificate must hold for; "address" stands for the peer's.
func (v value) tlsName(dst *string) {
	const expected = "a DNS name, an IP address, or \"address\" for the peer's own"
	s, ok := v.text(expected)
	switch {
	case !ok:
	case s == "address":
		*dst = ""
	default:
		if _, err := netip.ParseAddr(s); err != nil {
			if why := nameProblem(s); why != "" {
				v.unexpected("%s: %s", expected, why)
				return
			}
		}
		*dst = s
	}
}

// httpPath reads a path with its query.
func (v value) httpPath(dst *string) {
	const expected = "a path as HTTP has it, such as \"/health?full=1\""
	var s string
	if v.line(&s, expected); s == "" {
		if raw, ok := v.raw.(string); ok && raw == "" {
			v.unexpected(expected)
		}
		return
	}
	if u, err := url.Parse(s); err != nil || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || u.Fragment != "" || strings.Contains(s, " ") {
		v.unexpected(expected)
		return
	}
	*dst = s
}

var codesForm = regexp.MustCompile(`^([1-5]xx|[1-5]\d\d|[1-5]\d\d-[1-5]\d\d)(,([1-5]xx|[1-5]\d\d|[1-5]\d\d-[1-5]\d\d))*$`)

// codes reads status codes of HTTP.
func (v value) codes(dst *string) {
	const expected = "status codes, such as \"200\", \"2xx\", \"200-399\" or \"200,301\""
	s, ok := v.text(expected)
	if !ok {
		return
	}
	s = strings.ReplaceAll(s, " ", "")
	if !codesForm.MatchString(s) {
		v.unexpected(expected)
		return
	}
	for part := range strings.SplitSeq(s, ",") {
		if low, high, ranged := strings.Cut(part, "-"); ranged && low > high {
			v.unexpected("%s: %s is above %s", expected, low, high)
			return
		}
	}
	*dst = s
}

// regexp reads a regular expression.
func (v value) regexp(dst *string) {
	s, ok := v.text("a regular expression")
	if !ok {
		return
	}
	if _, err := regexp.Compile(s); err != nil {
		v.unexpected("a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return
	}
	*dst = s
}

// secretFile reads the path of a file that only its owner may read. Whether it is such a file is said here, where the line
// is known; whoever reads the secret looks again.
func (v value) secretFile(dst *string) {
	const expected = "an absolute path, or \"off\""
	var file string
	if v.file(&file, "off"); file == "" {
		return
	}
	switch info, err := os.Stat(file); {
	case errors.Is(err, fs.ErrNotExist):
		v.unexpected("%s: there is no such file", expected)
	case err != nil:
		v.unexpected("%s: %v", expected, reason(err))
	case !info.Mode().IsRegular():
		v.unexpected("%s: this is no plain file", expected)
	case info.Mode().Perm()&0o077 != 0:
		v.unexpected("a file that only its owner may read: its mode is %s, chmod 600 makes it so", strconv.FormatUint(uint64(info.Mode().Perm()), 8))
	default:
		*dst = file
	}
}

// hostPorts reads a list of HOST:PORT, none of them twice.
func (v value) hostPorts(dst *[]string) {
	const expected = "HOST:PORT, such as \"10.0.0.1:26379\""
	if l, ok := v.raw.([]value); ok && len(l) == 0 {
		*dst = nil
		return
	}
	var out []string
	for _, e := range v.texts(expected) {
		s := e.raw.(string)
		host, port, err := net.SplitHostPort(s)
		n, perr := strconv.ParseUint(port, 10, 16)
		switch {
		case err != nil || perr != nil || n == 0:
			e.unexpected("%s, with brackets around an IPv6 address", expected)
		case hostProblem(host) != "":
			e.unexpected("%s: %s", expected, hostProblem(host))
		case slices.Contains(out, s):
			e.fail("found %s again, expected each once", e.found())
		default:
			out = append(out, s)
		}
	}
	*dst = out
}
