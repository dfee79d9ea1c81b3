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
		{"udp", "quic_id_length = 8", ""},
		{"udp", "mode = \"oneway\"\npass_ecn = true\npass_dscp = true", ""},
		{"tcp", "pass_ecn = false", ""},
		{"tcp", "pass_ecn = true", `pass_ecn: found on a listener without UDP, expected a udp:// address: TCP has its own on either side`},
		{"tcp", "pass_dscp = true", `pass_dscp: found on a listener without UDP, expected a udp:// address: TCP has its own on either side`},
		{"udp", "quic_id_length = 20\nquic_server_length = 19", ""},
		{"tcp", "quic_id_length = \"off\"\nquic_server_length = \"off\"", ""},
		{"tcp", "mode = \"session\"\nresponses = 1\nrequests = \"off\"\nmax_flows_per_source = \"off\"", ""},

		{"udp", `mode = "dns"`, `mode: found "dns", expected "session", "reqresp" or "oneway"`},
		{"udp", "mode = \"reqresp\"\nresponses = 0", `responses: found 0, expected a whole number from 1 to 1000000, or "off"`},
		{"udp", "mode = \"reqresp\"\nrequests = 1000001", `requests: found 1000001, expected a whole number from 1 to 1000000, or "off"`},
		{"udp", "responses = 2", `responses: found with mode "session", which has no use for it, expected with mode "reqresp"`},
		{"udp", "mode = \"oneway\"\nresponses = 2", `responses: found with mode "oneway", which has no use for it, expected with mode "reqresp"`},
		{"udp", "requests = 2", `requests: found with mode "session", which has no use for it, expected with mode "reqresp" or "oneway"`},
		{"tcp", `mode = "reqresp"`, `mode: found "reqresp" on a listener without UDP, expected a udp:// address or no mode`},
		{"tcp", "quic_id_length = 8", `quic_id_length: found on a listener without UDP, expected a udp:// address`},
		{"udp", "quic_id_length = 21", `quic_id_length: found 21, expected a whole number from 1 to 20, or "off"`},
		{"udp", "mode = \"reqresp\"\nquic_id_length = 8", `quic_id_length: found with mode "reqresp", expected with mode "session": QUIC is no requests and responses`},
		{"udp", "quic_server_length = 2", `quic_server_length: found 2 with quic_id_length 0, expected less: the first byte of an id is not the server's`},
		{"udp", "quic_id_length = 4\nquic_server_length = 4", `quic_server_length: found 4 with quic_id_length 4, expected less: the first byte of an id is not the server's`},
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

func TestQUICLengthsAreRead(t *testing.T) {
	c, err := Parse("f", strings.Replace(whole, `"tcp://127.0.0.1:5432"`,
		"\"udp://127.0.0.1:5432\"\nquic_id_length = 8\nquic_server_length = 2", 1), new(Flags))
	if err != nil {
		t.Fatal(err)
	}
	if l := c.Listeners[0]; l.QUICIDLength != 8 || l.QUICServerLength != 2 {
		t.Errorf("%+v", l)
	}
}
