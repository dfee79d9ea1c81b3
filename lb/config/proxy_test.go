package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

func TestProxyInIsForTCP(t *testing.T) {
	with := func(text, listener string) (*Config, error) {
		return Parse("f", strings.Replace(text, "pool = \"p\"\n", "pool = \"p\"\n"+listener, 1), new(Flags))
	}
	udp := strings.Replace(whole, "tcp://", "tcp+udp://", 1)
	_, err := with(udp, "proxy_in = [\"10.0.0.0/8\"]\n")
	problems(t, err, `f:5: listener.proxy_in: found on a listener that is UDP, expected TCP only: there is no header for datagrams in this version`)
	_, err = with(udp, "proxy_in = []\n")
	problems(t, err)
	_, err = with(whole, "preread_timeout = \"2s\"\n")
	problems(t, err, `f:5: listener.preread_timeout: found without proxy_in and without a pool with hash_key = "sni", expected one of them: nothing else is read before the session begins`)
	_, err = with(whole, "proxy_in = \"ten\"\npreread_timeout = \"off\"\n")
	problems(t, err, `f:5: listener.proxy_in: found "ten", expected `+accessForms+`: this is neither`,
		`f:6: listener.preread_timeout: found "off", expected a duration with its unit (ms, s, m, h), such as "30s"`)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = with(whole, "proxy_in = \""+empty+"\"\n")
	problems(t, err, `f:5: listener.proxy_in: found "`+empty+`", expected a list file with at least one prefix: nobody could come in`)
	for _, pool := range []string{"balance = \"hash\"\nhash_key = \"sni\"\n", "balance = \"hash\"\nhash_key = \"name\"\n"} {
		_, err = with(whole+"[pool.p]\n"+pool, "preread_timeout = \"2s\"\n")
		if strings.Contains(pool, "sni") {
			problems(t, err)
		} else { // what the key is to be is not known
			problems(t, err, `f:12: pool.p.hash_key: found "name", expected "source", "source_port", "destination", "sni" or "proxy_source"`)
		}
	}
	c, err := with(whole+"[pool.p]\nbalance = \"hash\"\nhash_key = \"proxy_source\"\nhash_prefix_ipv4 = 24\n", "proxy_in = [\"10.0.0.0/8\"]\n")
	if problems(t, err); c.Pools[0].HashKey != "proxy_source" {
		t.Errorf("%+v", c.Pools[0])
	}
	c, err = with(whole, "proxy_in = [\"::1\", \"10.0.0.0/8\"]\npreread_timeout = \"2s\"\n")
	problems(t, err)
	if l := c.Listeners[0]; len(l.ProxyIn) != 2 || l.PrereadTimeout != 2*time.Second {
		t.Errorf("%+v", l)
	}
}
