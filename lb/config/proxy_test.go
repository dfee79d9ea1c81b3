package config

import (
	"strings"
	"testing"
)

func TestProxyOutIsForTCP(t *testing.T) {
	text := strings.Replace(whole, "tcp://", "tcp+udp://", 1) + "[pool.p]\nproxy_out = \"v1\"\n"
	_, err := Parse("f", text, new(Flags))
	problems(t, err, `f:10: pool.p.proxy_out: found "v1", but listener "a" is UDP, expected TCP only: there is no header for datagrams in this version`)
	for word, problem := range map[string]string{"off": "", "v2": "", "v3": `f:10: pool.p.proxy_out: found "v3", expected "off", "v1" or "v2"`} {
		c, err := Parse("f", whole+"[pool.p]\nproxy_out = \""+word+"\"\n", new(Flags))
		if problem != "" {
			problems(t, err, problem)
		} else if problems(t, err); c.Pools[0].ProxyOut != word {
			t.Errorf("found %q", c.Pools[0].ProxyOut)
		}
	}
}
