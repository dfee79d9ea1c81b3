package config

import (
	"strings"
	"testing"
	"time"
)

func TestTimeoutsThatContradict(t *testing.T) {
	with := func(listener, pool string) error {
		text := strings.Replace(whole, "pool = \"p\"\n", "pool = \"p\"\n"+listener, 1)
		_, err := Parse("f", text+"[pool.p]\n"+pool, new(Flags))
		return err
	}
	problems(t, with("max_age = \"1ms\"\n", "connect_timeout = \"2s\"\nconnect_deadline = \"2001ms\"\nfirst_byte_timeout = \"1h\"\n"))
	problems(t, with("max_age = \"off\"\n", "connect_deadline = \"off\"\nfirst_byte_timeout = \"off\"\n"))
	problems(t, with("max_age = \"0s\"\n", ""), `f:5: listener.max_age: found "0s", expected a duration from 1ms to `+Brief(maxDuration)+`, or "off"`)
	problems(t, with("", "connect_timeout = \"2s\"\nconnect_deadline = \"2s\"\n"),
		`f:11: pool.p.connect_deadline: found "2s" for all attempts, but connect_timeout is 2s for one, expected more`)
	problems(t, with("", "connect_deadline = \"1s\"\n"),
		`f:10: pool.p.connect_deadline: found "1s" for all attempts, but connect_timeout is 3s for one, expected more`)
	problems(t, with("", "connect_timeout = \"ever\"\nconnect_deadline = \"1s\"\n"),
		`f:10: pool.p.connect_timeout: found "ever", expected a duration with its unit (ms, s, m, h), such as "30s"`)

	udp := strings.Replace(whole, "tcp://", "udp://", 1)
	_, err := Parse("f", strings.Replace(udp, "pool = \"p\"\n", "pool = \"p\"\nmax_age = \"1h\"\n", 1), new(Flags))
	problems(t, err, `f:5: listener.max_age: found on a listener that is UDP, expected idle_timeout: that ends a UDP flow`)
}

func TestTimeoutsAreRead(t *testing.T) {
	c, err := Parse("f", whole+"[pool.p]\nconnect_deadline = \"10s\"\nfirst_byte_timeout = \"20s\"\n", new(Flags))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Pools[0]; p.ConnectDeadline != 10*time.Second || p.FirstByteTimeout != 20*time.Second {
		t.Errorf("%+v", p)
	}
}
