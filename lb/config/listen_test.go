package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestListenOnPassedSockets(t *testing.T) {
	for _, test := range []struct {
		text, want, problem string
	}{
		{"tcp://systemd:pg", "tcp://systemd:pg", ""},
		{"tcp+udp://systemd:a b.socket", "tcp://systemd:a b.socket udp://systemd:a b.socket", ""},
		{"udp://systemd:", "", `found "udp://systemd:", expected udp://` + passedForm},
		{"tcp://systemd:a:b", "", `found "tcp://systemd:a:b", expected tcp://` + passedForm},
		{"tcp://systemd:" + strings.Repeat("n", 256), "", "expected tcp://" + passedForm},
		{"tcp://systemd:ü", "", "expected tcp://" + passedForm},
		{"tcp://[systemd]:1", "", "expected " + listenForms + ": the address must be an IP address, not a name"},
	} {
		c, err := Parse("f", strings.Replace(whole, "tcp://127.0.0.1:5432", test.text, 1), new(Flags))
		if test.problem != "" {
			if err == nil || !strings.HasPrefix(err.Error(), "f:3: listener.listen: ") || !strings.HasSuffix(err.Error(), test.problem) {
				t.Errorf("%s: %v", test.text, err)
			}
			continue
		}
		problems(t, err)
		var got []string
		for _, e := range c.Listeners[0].Listen {
			got = append(got, e.String())
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: %s", test.text, text)
		}
	}
	_, err := Parse("f", strings.Replace(whole, `"tcp://127.0.0.1:5432"`, `["tcp://systemd:a", "udp://systemd:a", "tcp://systemd:a"]`, 1), new(Flags))
	problems(t, err, "f:3: listener.listen: found tcp://systemd:a, which listener.listen on line 3 has, expected each socket once")
	_, err = Parse("f", strings.Replace(whole, "127.0.0.1:5432", "systemd:a", 1)+"[admin]\nlisten = \"systemd:a\"\n", new(Flags))
	if err == nil || !strings.Contains(err.Error(), "expected each socket once") {
		t.Errorf("%v", err)
	}
	_, err = Parse("f", whole+"[admin]\nlisten = \"systemd:a\"\nmode = \"0660\"\n", new(Flags))
	if err == nil || !strings.Contains(err.Error(), "admin.mode: found with listen = \"systemd:a\"") {
		t.Errorf("%v", err)
	}
	_, err = Parse("f", whole+"[admin]\nlisten = \"systemd:\"\n", new(Flags))
	if err == nil || !strings.HasSuffix(err.Error(), "expected "+passedForm) {
		t.Errorf("%v", err)
	}
}

func TestRangesOfPorts(t *testing.T) {
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
	problems(t, err, `f:3: listener.listen: found tcp://[::]:6002 ("tcp://:6002"), which overlaps tcp://127.0.0.1:6002 ("tcp://127.0.0.1:6000-6002") of listener.listen on line 3, expected each address once`)
}
