package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestLI5RangesOfPorts(t *testing.T) {
	const expected = ", expected " + listenForms + ": "
	for _, test := range []struct {
		text    string
		want    string // the first and the last address
		n       int
		problem string
	}{
		{"tcp://0.0.0.0:6000-6010", "tcp://0.0.0.0:6000 tcp://0.0.0.0:6010", 11, ""},
		{"tcp://:6000-6000", "tcp://[::]:6000 tcp://[::]:6000", 1, ""},
		{"tcp+udp://[fe80::1%eth-0]:1-1000", "tcp://[fe80::1%eth-0]:1 udp://[fe80::1%eth-0]:1000", 2000, ""},
		{"udp://[fe80::1%eth-0]:65535", "udp://[fe80::1%eth-0]:65535 udp://[fe80::1%eth-0]:65535", 1, ""},
		{"tcp://127.0.0.1:6010-6000", "", 0, "a range goes from the lower port to the higher one"},
		{"tcp://127.0.0.1:1-1001", "", 0, "a range has at most 1000 ports"},
		{"tcp://127.0.0.1:1-", "", 0, "the port is missing"},
		{"tcp://127.0.0.1:-1", "", 0, "the port is missing"},
		{"tcp://127.0.0.1:1-65536", "", 0, "the port must be from 1 to 65535"},
		{"tcp://127.0.0.1:0-1", "", 0, "the port must be from 1 to 65535"},
		{"tcp://127.0.0.1:1-2-3", "", 0, "the port must be a number from 1 to 65535"},
	} {
		c, err := Parse("f", strings.Replace(whole, "tcp://127.0.0.1:5432", test.text, 1), new(Flags))
		if test.problem != "" {
			problems(t, err, fmt.Sprintf("f:3: listener.listen: found %q%s%s", test.text, expected, test.problem))
			continue
		}
		problems(t, err)
		if err != nil {
			continue
		}
		l := c.Listeners[0].Listen
		if got := l[0].String() + " " + l[len(l)-1].String(); got != test.want || len(l) != test.n {
			t.Errorf("%s: %d addresses, %s", test.text, len(l), got)
		}
	}
	_, err := Parse("f", strings.Replace(whole, `"tcp://127.0.0.1:5432"`, `["tcp://127.0.0.1:6000-6002", "tcp://:6002"]`, 1), new(Flags))
	problems(t, err, `f:3: listener.listen: found tcp://[::]:6002, which overlaps tcp://127.0.0.1:6002 of listener.listen on line 3, expected each address once`)
}
