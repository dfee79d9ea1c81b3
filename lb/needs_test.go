package lb

import (
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/config"
)

func TestNeedsOfFlows(t *testing.T) {
	const text = `
[[listener]]
name = "dns"
listen = "udp://127.0.0.1:5300"
pool = "dns"
max_conns = 30000
[[listener]]
name = "more"
listen = ["tcp://127.0.0.1:5301", "udp://127.0.0.1:5301"]
pool = "dns"
max_conns = 20000
[[listener]]
name = "db"
listen = "tcp://127.0.0.1:5432"
pool = "db"
max_conns = 40000
[pool.dns]
#
[[pool.dns.backend]]
host = "10.0.0.1"
port = 53
[pool.db]
[[pool.db.backend]]
host = "10.0.0.1"
port = 5432
`
	for _, c := range []struct {
		what, socket string
		want         int
	}{
		{"the wildcard", "", 50_000},
		{"two addresses", `source = ["10.0.0.2", "10.0.0.3"]`, 25_000},
		{"two of one family, one of the other", `source = ["10.0.0.2", "10.0.0.3", "2001:db8::1"]`, 50_000},
		{"ports of its own", `source_ports = "40000-50000"`, 0},
	} {
		conf, err := config.Parse("f", strings.Replace(text, "#", "socket = { "+c.socket+" }", 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := Needs(conf); n.Flows != c.want || n.Sessions != 90_000 {
			t.Errorf("%s: %d flows of %d sessions, expected %d of 90000", c.what, n.Flows, n.Sessions, c.want)
		}
	}
}
