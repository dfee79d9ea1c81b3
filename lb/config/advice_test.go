package config

import "testing"

// What people write who come from elsewhere, or whose fingers slipped, and what they are told.
func TestAdvice(t *testing.T) {
	const balances = `expected "leastconn", "roundrobin", "random", "first", "sticky", "hash" or "least_time"`
	for _, test := range []struct{ key, text, problem string }{
		{"pool.p.maxConns", "[pool.p]\nmaxConns = 1", `unknown key, did you mean "max_conns"?`},
		{"pool.p.max-conns", "[pool.p]\nmax-conns = 1", `unknown key, did you mean "max_conns"?`},
		{"pool.p.algorithm", "[pool.p]\nalgorithm = \"rr\"", `unknown key, did you mean "balance"?`},
		{"pool.p.servers", "[pool.p]\nservers = []", `unknown key, did you mean "backend"?`},
		{"pool.p.check.type", "[pool.p.check]\nkind = \"tcp\"\ntype = \"tcp\"", `unknown key, did you mean "kind"?`},
		{"pool.p.check.password", "[pool.p.check]\nkind = \"tcp\"\npassword = \"x\"", `unknown key, did you mean "password_file"?`},

		// what is right elsewhere
		{"pool.p.idle_timeout", "[pool.p]\nidle_timeout = \"5m\"", `unknown key here, it belongs to [[listener]]`},
		{"pool.p.interval", "[pool.p]\ninterval = \"5m\"", `unknown key here, it belongs to [pool.NAME.check]`},
		{"log.max_conns", "[log]\nmax_conns = 1", `unknown key here, it belongs to [[listener]] or [pool.NAME]`},
		{"log.shutdown_delay", "[log]\nshutdown_delay = \"1s\"", `unknown key here, it belongs to the top of the file`},

		{"pool.p.balance", "[pool.p]\nbalance = \"LeastConn\"", `found "LeastConn", ` + balances + `: did you mean "leastconn"?`},
		{"pool.p.balance", "[pool.p]\nbalance = \"round-robin\"", `found "round-robin", ` + balances + `: did you mean "roundrobin"?`},
		{"pool.p.balance", "[pool.p]\nbalance = \"rr\"", `found "rr", ` + balances + `: did you mean "roundrobin"?`},
		{"pool.p.balance", "[pool.p]\nbalance = \"maglev\"", `found "maglev", ` + balances + `: did you mean "hash"?`},
		{"pool.p.balance", "[pool.p]\nbalance = \"teapot\"", `found "teapot", ` + balances},
		{"log.level", "[log]\nlevel = \"warning\"", `found "warning", expected "debug", "info", "warn" or "error": did you mean "warn"?`},
		{"pool.p.proxy_out", "[pool.p]\nproxy_out = \"none\"", `found "none", expected "off", "v1" or "v2": did you mean "off"?`},
		{"pool.p.proxy_out", "[pool.p]\nproxy_out = \"v3\"", `found "v3", expected "off", "v1" or "v2"`},
		{"pool.p.max_conns", "[pool.p]\nmax_conns = \"100\"", `found "100", expected a whole number from 1 to 10000000, or "off", without quotes`},
		{"resolver.default.case_randomization", "[resolver.default]\ncase_randomization = \"true\"", `found "true", expected true or false, without quotes`},

		{"pool.p.on", "[pool.p]\non = \"close\"", `found "close", expected a table, such as { removed = "drain" }`},
		{"log", "[[log]]\nlevel = \"info\"", `found a list of tables, expected one, in single brackets: [log]`},
		{"name", "[log]\nname = web", `not TOML: expected value but found "web" instead; text stands in quotes: "..."`},
		{"syntax", "[log]\nlevel: info", `not TOML: expected '.' or '=', but got ':' instead; a line is KEY = VALUE, or a table such as [log]`},
		{"syntax", "[pool]\n[[pool]]", `not TOML: Key 'pool' was already created and cannot be used as an array. Write [[...]], in double brackets, each time`},
	} {
		_, err := Parse("f", whole+test.text+"\n", nil)
		if list, ok := err.(Problems); !ok || len(list) != 1 || list[0].Key != test.key || list[0].Text != test.problem {
			t.Errorf("%q:\ngot  %v\nwant %s: %s", test.text, err, test.key, test.problem)
		}
	}
}
