package config

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// fields lists the keys that Changed can name for a type.
func fields(t reflect.Type, path string) (list []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		typ := f.Type
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		switch key := path + keyOf(f); {
		case !f.IsExported():
		case f.Anonymous:
			list = append(list, fields(typ, path)...)
		case typ.Kind() == reflect.Struct:
			list = append(list, fields(typ, key+".")...)
		default:
			list = append(list, key)
		}
	}
	return list
}

// TestChangedSpeaksOfKeys holds every field of the parts that a reload compares to the table of keys: what it says is what
// people have written.
func TestChangedSpeaksOfKeys(t *testing.T) {
	check := func(part any, keys []string) {
		t.Helper()
		for _, f := range fields(reflect.TypeOf(part), "") {
			if !slices.Contains(keys, f) {
				t.Errorf("%T has a field %q, which is no key; give it a tag", part, f)
			}
		}
	}
	within := func(table string, keys []string) (list []string) {
		for _, k := range keys {
			list = append(list, table+"."+k)
		}
		return list
	}
	pool := slices.Concat(known(poolKeys), within("on", known(onKeys)), within("socket", known(peerSocketKeys)), within("check", known(checkKeys)), []string{"name"})
	check(Pool{}, pool)
	check(Listener{}, append(known(listenerKeys), within("socket", known(clientSocketKeys))...))
	check(Resolver{}, append(known(resolverKeys), "name"))
	check(Admin{}, known(adminKeys))
	check(Log{}, known(logKeys))
	check(Relay{}, known(relayKeys))
}

func TestChanged(t *testing.T) {
	d := defaults()
	p := d.Pools[0]
	same := func() Pool {
		q := p
		c := *p.Check
		q.Check = &c
		q.Backends = slices.Clone(p.Backends)
		q.Backends[0].AllowAnswers = []string{}
		return q
	}
	again := same()
	if got := Changed(&p, &again); len(got) > 0 {
		t.Errorf("equal pools differ in %q", got)
	}
	q := same()
	q.On.Dead, q.Check.Fall, q.Check.RefusedIsDown = "keep", 9, false
	q.Backends[0].MaxStale = time.Hour
	q.ConnectAttempts = 7
	if got, want := Changed(&p, &q), []string{"connect_attempts", "on.dead", "backend", "check.fall", "check.refused_is_down"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	q = same()
	q.Check = nil
	if got := Changed(&p, &q); !slices.Equal(got, []string{"check"}) {
		t.Errorf("without a check: %q", got)
	}
	l := d.Listeners[0]
	m := l
	m.IdleTimeout, m.UDPIdleTimeout = time.Second, time.Second
	if got := Changed(&l, &m); !slices.Equal(got, []string{"idle_timeout"}) {
		t.Errorf("one key is two: %q", got)
	}
	r := Resolver{EDNSSize: 1}
	if got := Changed(&r, &Resolver{CAFile: "/x"}); !slices.Equal(got, []string{"edns_size", "ca_file"}) {
		t.Errorf("resolvers: %q", got)
	}
}

func TestProblemNamesThePlace(t *testing.T) {
	const text = `
[admin]
listen = "127.0.0.1:1"
[[listener]]
name = "a"
listen = "tcp://127.0.0.1:2"
pool = "p"
[resolver.r]
servers = ["udp://127.0.0.1"]
[pool.p]
backend = [{host = "127.0.0.1", port = 3}]
`
	var flags Flags
	if err := flags.Set("engine", "epoll"); err != nil {
		t.Fatal(err)
	}
	c, err := Parse("f", text, &flags)
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{
		"admin.listen": "f:3: admin.listen: no", "listener a": "f:6: listener.listen: no", "resolver r": "f:8: resolver.r: no",
		"pool p": "f:10: pool.p: no", "relay.engine": "--engine: no", "relay.loops": "relay.loops: no", "resolver default": "resolver default: no",
	} {
		if got := c.Problem(what, "no").Error(); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
}
