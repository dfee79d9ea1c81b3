package migrate

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// join is HOST:PORT, with brackets where they are due.
func join(host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// hostPort takes apart HOST, HOST:PORT, [V6], [V6]:PORT and V6:PORT; port 0 is none.
func hostPort(s string) (host string, port int, err error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return strings.Trim(s, "[]"), 0, nil
	}
	host = strings.TrimSuffix(strings.TrimPrefix(s[:i], "["), "]")
	if port, err = portOf(s[i+1:]); err != nil {
		return "", 0, err
	}
	return host, port, nil
}

func portOf(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 || s[0] == '+' {
		return 0, fmt.Errorf("found the port %q, expected a number from 1 to 65535", printable(s))
	}
	return n, nil
}

var timeForm = regexp.MustCompile(`^([0-9]{1,18})(us|ms|s|m|h|d|w|M|y)?`)

// maxSpan is the longest duration that ebb takes.
const maxSpan = 365 * 24 * time.Hour

// duration reads a time such as 30s, or 1m30s; a number without a unit is of the one given.
func duration(text string, unit time.Duration) (sum time.Duration, ok bool) {
	units := map[string]time.Duration{
		"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
		"w": 7 * 24 * time.Hour, "M": 30 * 24 * time.Hour, "y": maxSpan, "": unit,
	}
	if text == "" {
		return 0, false
	}
	for text != "" {
		m := timeForm.FindStringSubmatch(text)
		if m == nil {
			return 0, false
		}
		n, err := strconv.ParseInt(m[1], 10, 64)
		if u := units[m[2]]; err != nil || n > int64((maxSpan-sum)/u) {
			return 0, false
		} else {
			sum += time.Duration(n) * u
		}
		text = strings.TrimSpace(text[len(m[0]):])
	}
	return sum, true
}

// decimal is a number of hundredths.
func decimal(n int) string { return fmt.Sprintf("%d.%02d", n/100, n%100) }
