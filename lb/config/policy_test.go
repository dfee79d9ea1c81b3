package config

import (
	"fmt"
	"strings"
	"testing"
)

// What a pool balances by, if it does not say, depends on its listeners.
func TestPolicyInForce(t *testing.T) {
	for _, test := range []struct{ listen, pool, want, problem string }{
		{`"tcp://127.0.0.1:5432"`, ``, "leastconn", ``},
		{`"udp://127.0.0.1:5432"`, ``, "hash", ``},
		{`["udp://127.0.0.1:5432", "udp://127.0.0.2:5432"]`, ``, "hash", ``},
		{`"tcp+udp://127.0.0.1:5432"`, ``, "leastconn", ``},
		{`["udp://127.0.0.1:5432", "tcp://127.0.0.1:5433"]`, ``, "leastconn", ``},
		{`"udp://127.0.0.1:5432"`, `balance = "leastconn"`, "leastconn", ``},
		{`"udp://127.0.0.1:5432"`, `hash_key = "source_port"`, "hash", ``},
		{`"udp://127.0.0.1:5432"`, `bounded = 1.5`, "hash", ``},
		{`"udp://127.0.0.1:5432"`, `hash_prefix_ipv4 = 24`, "hash", ``},
		{`"tcp://127.0.0.1:5432"`, `hash_prefix_ipv6 = 64`, "", `hash_prefix_ipv6: found with balance "leastconn", which has no use for it, expected with balance "hash"`},
		{`"udp://127.0.0.1:5432"`, "balance = \"random\"\nhash_prefix_ipv4 = 8", "", `hash_prefix_ipv4: found with balance "random", which has no use for it, expected with balance "hash"`},
		{`"udp://127.0.0.1:5432"`, "hash_key = \"destination\"\nhash_prefix_ipv4 = 24", "", `hash_prefix_ipv4: found with hash_key "destination", which has no use for it, expected with hash_key "source"`},
		{`"tcp://127.0.0.1:5432"`, "balance = \"hash\"\nhash_key = \"sni\"", "hash", ``},
		{`"udp://127.0.0.1:5432"`, `hash_key = "sni"`, "", `hash_key: found "sni", but listener "a" is not tcp:// only: elsewhere no ClientHello is waited for`},
		{`"unix:/run/ebb.sock"`, "balance = \"hash\"\nhash_key = \"sni\"", "", `hash_key: found "sni", but listener "a" is not tcp:// only: elsewhere no ClientHello is waited for`},
		{`"tcp://127.0.0.1:5432"`, "balance = \"hash\"\nhash_key = \"proxy_source\"", "", `hash_key: found "proxy_source", but listener "a" has no proxy_in, expected it: its clients say nothing of whose they are`},
		{`"udp://127.0.0.1:5432"`, `hash_prefix_ipv4 = 33`, "", `hash_prefix_ipv4: found 33, expected a whole number from 1 to 32`},
		{`"udp://127.0.0.1:5432"`, `hash_prefix_ipv6 = 0`, "", `hash_prefix_ipv6: found 0, expected a whole number from 1 to 128`},
	} {
		text := strings.Replace(whole, `"tcp://127.0.0.1:5432"`, test.listen, 1) + "[pool.p]\n" + test.pool + "\n"
		c, err := Parse("f", text, new(Flags))
		if test.problem != "" {
			line := strings.Count(text, "\n")
			problems(t, err, fmt.Sprintf("f:%d: pool.p.%s", line, test.problem))
			continue
		}
		if err != nil {
			t.Errorf("%s, %s: %v", test.listen, test.pool, err)
		} else if got := c.Pools[0].Balance; got != test.want {
			t.Errorf("%s, %s: %s, expected %s", test.listen, test.pool, got, test.want)
		}
	}
	f := new(Flags)
	for name, text := range map[string]string{"listen": "udp://127.0.0.1:5353", "to": "127.0.0.1:53"} {
		if err := f.Set(name, text); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := FromFlags(f); err != nil || c.Pools[0].Balance != "hash" {
		t.Errorf("by flags: %v, %v", c, err)
	}
}
