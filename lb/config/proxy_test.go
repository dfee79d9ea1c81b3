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
	problems(t, err, `f:5: listener.preread_timeout: found without proxy_in, expected both: nothing else is read before the session begins`)
	_, err = with(whole, "proxy_in = \"ten\"\npreread_timeout = \"off\"\n")
	problems(t, err, `f:5: listener.proxy_in: found "ten", expected `+accessForms+`: this is neither`,
		`f:6: listener.preread_timeout: found "off", expected a duration with its unit (ms, s, m, h), such as "30s"`)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = with(whole, "proxy_in = \""+empty+"\"\n")
	problems(t, err, `f:5: listener.proxy_in: found "`+empty+`", expected a list file with at least one prefix: nobody could come in`)
	c, err := with(whole, "proxy_in = [\"::1\", \"10.0.0.0/8\"]\npreread_timeout = \"2s\"\n")
	problems(t, err)
	if l := c.Listeners[0]; len(l.ProxyIn) != 2 || l.PrereadTimeout != 2*time.Second {
		t.Errorf("%+v", l)
	}
}
