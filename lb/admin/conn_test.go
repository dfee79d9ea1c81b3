package admin

import (
	"context"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestConnFiltersGoTheWholeWay(t *testing.T) {
	f := example()
	f.conns = []Conn{{ID: 7, Listener: "front"}}
	s := serve(t, f, nothing)
	want := ConnFilter{
		ID: 7, Listener: "front", Pool: "db", Peer: "192.0.2.1:5432", Source: netip.MustParsePrefix("10.0.0.0/8"), Epoch: 3,
		MinAge: 90 * time.Second, Limit: 5,
	}
	list, n, err := NewClient(s.Addr(), "").Conns(context.Background(), want)
	if err != nil || n != 2 || len(list) != 1 || list[0] != f.conns[0] {
		t.Errorf("%v %d %v", list, n, err)
	}
	if len(f.filters) != 1 || !reflect.DeepEqual(f.filters[0], want) {
		t.Errorf("%+v", f.filters)
	}
	for i := range reflect.TypeFor[ConnFilter]().NumField() { // no field is forgotten
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Errorf("%s is not tried", reflect.TypeFor[ConnFilter]().Field(i).Name)
		}
	}
	if len(want.Query()) != len(connFilters) {
		t.Errorf("%d keys, want %d", len(want.Query()), len(connFilters))
	}
}

func TestConnQueries(t *testing.T) {
	f := example()
	f.conns = []Conn{{ID: 7}}
	s := serve(t, f, nothing)
	for _, tc := range []struct {
		method, path string
		code         int
		say          string
	}{
		{"GET", "/v1/conns", 200, `"id": 7`},
		{"GET", "/v1/conns?peer=192.0.2.1&source=192.0.2.7", 200, `"id": 7`},
		{"GET", "/v1/conns?peer=[2001:db8::1]:53", 200, `"id": 7`},
		{"GET", "/v1/conns?port=1", 400, `found \"port\", expected one of epoch, id, limit`},
		{"GET", "/v1/conns?epoch=x", 400, "expected a number from 1"},
		{"GET", "/v1/conns?epoch=0", 400, "expected a number from 1"},
		{"GET", "/v1/conns?pool=", 400, "expected a name"},
		{"GET", "/v1/conns?pool=a&pool=b", 400, "more than once"},
		{"GET", "/v1/conns?pool=web", 404, "no pool is named web"},
		{"DELETE", "/v1/conns?pool=web", 404, "no pool is named web"},
		{"GET", "/v1/conns?peer=db", 400, "expected ADDRESS:PORT"},
		{"GET", "/v1/conns?source=10.0.0.0/33", 400, "expected an address or a CIDR"},
		{"GET", "/v1/conns?min_age=5", 400, "expected a duration"},
		{"GET", "/v1/conns?min_age=-5s", 400, "expected a duration"},
		{"GET", "/v1/conns?limit=0", 400, "expected a number from 1 to 10000"},
		{"GET", "/v1/conns?limit=10001", 400, "expected a number from 1 to 10000"},
		{"GET", "/v1/conns?a;b", 400, "the query"},
		{"DELETE", "/v1/conns/7", 200, `"killed": 1`},
		{"DELETE", "/v1/conns/8", 404, "no session has the id 8"},
		{"DELETE", "/v1/conns/x", 400, "expected a number from 1"},
		{"DELETE", "/v1/conns?pool=db", 200, `"killed": 1`},
		{"DELETE", "/v1/conns", 400, "found no filter"},
		{"DELETE", "/v1/conns?limit=1", 400, "found limit"},
		{"DELETE", "/v1/conns?pool=db&limit=1", 400, "found limit"},
		{"GET", "/v1/conns/7", 405, "wants DELETE"},
		{"POST", "/v1/conns", 405, "wants GET, HEAD, DELETE"},
	} {
		f.filters = nil
		code, header, body := request(t, s, tc.method, "", tc.path)
		if code != tc.code || !strings.Contains(body, tc.say) {
			t.Errorf("%s %s: %d %s, want %d with %s", tc.method, tc.path, code, body, tc.code, tc.say)
		}
		if asked := len(f.filters) > 0; asked != (code == 200 || code == 404 && !strings.Contains(body, "is named")) {
			t.Errorf("%s %s: the source was asked: %v", tc.method, tc.path, asked)
		}
		if code == 200 && tc.method == "GET" && header.Get("Ebb-Matched") != "2" {
			t.Errorf("%s: Ebb-Matched %q", tc.path, header.Get("Ebb-Matched"))
		}
	}
}

func TestSE2NoWebPageCanKill(t *testing.T) {
	f := example()
	f.conns = []Conn{{ID: 7}}
	s := serve(t, f, nothing)
	for _, tc := range []struct {
		header map[string]string
		body   string
		code   int
	}{
		{nil, "", 200},
		{map[string]string{"Origin": "http://" + s.Addr()}, "", 200},
		{map[string]string{"Origin": "http://evil.example"}, "", 403},
		{map[string]string{"Origin": "null"}, "", 403},
		{map[string]string{"Sec-Fetch-Site": "cross-site"}, "", 403},
		{map[string]string{"Host": "evil.example"}, "", 403},
		{map[string]string{"Content-Type": "application/json"}, "{}", 400},
	} {
		f.filters = nil
		code, body := send(t, s, "DELETE", "/v1/conns/7", tc.body, tc.header)
		if code != tc.code || (len(f.filters) > 0) != (code == 200) {
			t.Errorf("%v: %d %s", tc.header, code, body)
		}
	}
}
