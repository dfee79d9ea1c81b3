package admin

import (
	"context"
	"net/netip"
	"strings"
	"testing"
)

func TestExplainOverHTTP(t *testing.T) {
	s := serve(t, example(), nothing)
	const path = "/v1/listeners/front/explain"
	for _, tc := range []struct {
		path string
		code int
		say  string
	}{
		{path, 200, `"next": [`},
		{path + "?source=192.0.2.9", 200, `"source": "192.0.2.9:0"`},
		{path + "?source=192.0.2.9:77", 200, `"source": "192.0.2.9:77"`},
		{path + "?source=%5B2001:db8::1%5D", 200, `"source": "[2001:db8::1]:0"`},
		{path + "?source=::ffff:192.0.2.9", 200, `"source": "192.0.2.9:0"`},
		{path + "?source=", 400, "expected the ADDRESS or ADDRESS:PORT of a client"},
		{path + "?source=here", 400, `found \"here\"`},
		{path + "?source=192.0.2.9&source=192.0.2.8", 400, "at most one source"},
		{path + "?client=192.0.2.9", 400, "client: expected at most one source"},
		{path + "?source=192.0.2.9&sni=DB.example.com", 200, `"reason": "db.example.com"`},
		{path + "?sni=a&sni=b", 400, "sni: expected at most one source"},
		{"/v1/listeners/back/explain", 404, `"listeners": [`},
	} {
		if code, _, body := request(t, s, "GET", "localhost", tc.path); code != tc.code || !strings.Contains(body, tc.say) {
			t.Errorf("%s: %d %s", tc.path, code, body)
		}
	}
	c := NewClient(s.Addr(), "")
	for client, want := range map[string]string{"192.0.2.9": "192.0.2.9:0", "[2001:db8::1]:7": "[2001:db8::1]:7", "fe80::1%eth0": "[fe80::1%eth0]:0"} {
		at, err := ParseClient(client)
		if err != nil {
			t.Fatal(err)
		}
		if x, err := c.Explain(context.Background(), "front", at, ""); err != nil || x.Source != want {
			t.Errorf("%s: %+v, %v", client, x, err)
		}
	}
	if _, err := c.Explain(context.Background(), "back", netip.AddrPort{}, ""); err == nil || err.Error() != "no listener is named back, expected one of front" {
		t.Errorf("%v", err)
	}
}
