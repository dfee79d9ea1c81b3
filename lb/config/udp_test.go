package config

import (
	"strings"
	"testing"
)

func TestUDPModes(t *testing.T) {
	for _, test := range []struct{ network, text, problem string }{
		{"udp", `mode = "reqresp"`, ""},
		{"udp", "mode = \"reqresp\"\nresponses = 2\nrequests = 1", ""},
		{"udp", "mode = \"reqresp\"\nresponses = \"off\"", ""},
		{"udp", "mode = \"oneway\"\nrequests = 5", ""},
		{"udp", "max_flows_per_source = 20", ""},
		{"tcp+udp", `mode = "oneway"`, ""},
		{"tcp", "mode = \"session\"\nresponses = 1\nrequests = \"off\"\nmax_flows_per_source = \"off\"", ""},

		{"udp", `mode = "dns"`, `mode: found "dns", expected "session", "reqresp" or "oneway"`},
		{"udp", "mode = \"reqresp\"\nresponses = 0", `responses: found 0, expected a whole number from 1 to 1000000, or "off"`},
		{"udp", "mode = \"reqresp\"\nrequests = 1000001", `requests: found 1000001, expected a whole number from 1 to 1000000, or "off"`},
		{"udp", "responses = 2", `responses: found with mode "session", which has no use for it, expected with mode "reqresp"`},
		{"udp", "mode = \"oneway\"\nresponses = 2", `responses: found with mode "oneway", which has no use for it, expected with mode "reqresp"`},
		{"udp", "requests = 2", `requests: found with mode "session", which has no use for it, expected with mode "reqresp" or "oneway"`},
		{"tcp", `mode = "reqresp"`, `mode: found "reqresp" on a listener without UDP, expected a udp:// address or no mode`},
		{"tcp", "max_flows_per_source = 2", `max_flows_per_source: found on a listener without UDP, expected a udp:// address`},
	} {
		text := strings.Replace(whole, `"tcp://127.0.0.1:5432"`, `"`+test.network+`://127.0.0.1:5432"`+"\n"+test.text, 1)
		_, err := Parse("f", text, new(Flags))
		if test.problem == "" {
			problems(t, err)
			continue
		}
		line := 4 + strings.Count(test.text, "\n") // the last key is the one to blame
		problems(t, err, "f:"+string(rune('0'+line))+": listener."+test.problem)
	}
}

func TestUDPModeIsRead(t *testing.T) {
	c, err := Parse("f", strings.Replace(whole, `"tcp://127.0.0.1:5432"`,
		"\"udp://127.0.0.1:5432\"\nmode = \"reqresp\"\nresponses = \"off\"\nrequests = 3\nmax_flows_per_source = 4", 1), new(Flags))
	if err != nil {
		t.Fatal(err)
	}
	if l := c.Listeners[0]; l.Mode != "reqresp" || l.Responses != 0 || l.Requests != 3 || l.MaxFlowsPerSource != 4 {
		t.Errorf("%+v", l)
	}
}
