package admin

import (
	"context"
	"slices"
	"strings"
	"testing"
)

func TestOrdersOverHTTP(t *testing.T) {
	f := example()
	s := serve(t, f, nothing)
	js := map[string]string{"Content-Type": "application/json"}
	const peer = "/v1/pools/db/peers/192.0.2.1:5432/"
	for _, tc := range []struct {
		method, path, body string
		header             map[string]string
		code               int
		say                string
		order              *Order
	}{
		{"POST", peer + "drain", "", js, 200, `"changed": true`, &Order{Word: "drain"}},
		{"POST", peer + "ready", "{}", js, 200, `"epoch": 8`, &Order{Word: "ready"}},
		{"POST", peer + "maint", "{}", js, 200, `"addr": "192.0.2.1:5432"`, &Order{Word: "maint"}},
		{"POST", peer + "weight", `{"weight": 0}`, js, 200, `"pool": "db"`, &Order{Word: "weight"}},
		{"POST", peer + "weight", `{"weight": 65535}`, js, 200, `"pool": "db"`, &Order{Word: "weight", Weight: 65535}},
		{"POST", peer + "weight", `{"weight": null}`, js, 200, `"pool": "db"`, &Order{Word: "weight", Weight: NoWeight}},
		{"POST", peer + "weight", `{"weight": 65536}`, js, 400, "found 65536, expected a whole number from 0 to 65535", nil},
		{"POST", peer + "weight", `{"weight": -1}`, js, 400, "found -1", nil},
		{"POST", peer + "weight", `{"weight": 1.5}`, js, 400, "found 1.5", nil},
		{"POST", peer + "weight", `{"weight": "1"}`, js, 400, `found \"1\"`, nil},
		{"POST", peer + "weight", `{}`, js, 400, "weight: missing", nil},
		{"POST", peer + "weight", `{"wieght": 1}`, js, 400, "wieght", nil},
		{"POST", peer + "drain", `{"weight": 1}`, js, 400, "weight", nil},
		{"POST", "/v1/pools/web/peers/192.0.2.1:5432/drain", "", js, 404, `"pools": [`, nil},
		{"POST", "/v1/pools/db/peers/192.0.2.9:5432/drain", "", js, 404, `"peers": [`, nil},
		{"POST", peer + "stop", "", js, 404, "no such path", nil},
		{"GET", peer + "drain", "", js, 405, "wants POST", nil},
		{"POST", peer + "drain", "", nil, 415, "application/json", nil},
		{"POST", peer + "drain", "", map[string]string{"Content-Type": "application/json", "Origin": "http://evil.example"}, 403, "evil", nil},
	} {
		before := len(f.orders)
		code, body := send(t, s, tc.method, tc.path, tc.body, tc.header)
		if code != tc.code || !strings.Contains(body, tc.say) {
			t.Errorf("%s %s %s: %d %s", tc.method, tc.path, tc.body, code, body)
		}
		switch got := f.orders[before:]; {
		case tc.order == nil && len(got) > 0:
			t.Errorf("%s %s: had an effect: %v", tc.method, tc.path, got)
		case tc.order != nil && !slices.Equal(got, []Order{*tc.order}):
			t.Errorf("%s %s: ordered %v, want %v", tc.method, tc.path, got, *tc.order)
		}
	}
}

func TestTheClientOrders(t *testing.T) {
	f := example()
	f.status.Pools[0].Peers = append(f.status.Pools[0].Peers, Peer{Addr: "[fe80::1%eth0]:5432"})
	c := NewClient(serve(t, f, nothing).Addr(), "")
	for _, o := range []Order{{Word: "drain"}, {Word: "weight", Weight: 7}, {Word: "weight", Weight: NoWeight}} {
		for _, p := range f.status.Pools[0].Peers {
			if r, err := c.OrderPeer(context.Background(), "db", p.Addr, o); err != nil || r.Peer.Addr != p.Addr || f.orders[len(f.orders)-1] != o {
				t.Errorf("%v: %+v, %v", o, r, err)
			}
		}
	}
	for _, tc := range [][3]string{
		{"web", "192.0.2.1:5432", "no pool is named web, expected one of db"},
		{"db", "a/b", "pool db has no peer a/b, expected one of 192.0.2.1:5432"},
	} {
		if _, err := c.OrderPeer(context.Background(), tc[0], tc[1], Order{Word: "drain"}); err == nil || err.Error() != tc[2] {
			t.Errorf("%v: %v", tc, err)
		}
	}
}

func TestParseWeight(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "65535": 65535, "default": NoWeight} {
		if n, err := ParseWeight(text); n != want || err != nil {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "-1", "65536", "+1", "1.0", "max"} {
		if n, err := ParseWeight(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}
