package lb

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// Every operation of docs/openapi.json is one that a running ebb answers, with what the document says of it, be it done or
// refused.
func TestOpenAPIIsWhatIsServed(t *testing.T) {
	for _, media := range []string{"text/event-stream", "application/x-ndjson"} {
		openapi3filter.RegisterBodyDecoder(media, func(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
			text, err := io.ReadAll(body)
			return string(text), err
		})
	}
	doc, err := openapi3.NewLoader().LoadFromFile("../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	left := make(map[string]bool) // operations that nothing was asked of
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			left[method+" "+path] = true
		}
	}

	r := newRig(t)
	list, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 1, "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(list[0].addr), named("db.test", list[1].addr.Port())}
	r.pool().Check = fastCheck()
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3")
	c := r.dial()
	greeting(t, c)
	var id uint64
	eventually(t, "the session", func() bool {
		conns, _ := r.server.Conns(admin.ConnFilter{})
		if len(conns) == 1 {
			id = conns[0].ID
		}
		return len(conns) == 1
	})
	peer, text := list[0].addr.String(), "[[listener]]\nname = \"l\"\nlisten = \"tcp://127.0.0.1:1\"\npool = \"p\"\n[[pool.p.backend]]\nhost = \"127.0.0.1\"\nport = 2\n"
	r.next.Store(r.another(func(*config.Config) {}))
	for _, ask := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/livez", "", 200},
		{"GET", "/readyz", "", 200},
		{"GET", "/readyz/db?min=1", "", 200},
		{"GET", "/readyz/no", "", 404},
		{"GET", "/metrics", "", 200},
		{"GET", "/v1/status", "", 200},
		{"GET", "/v1/openapi.json", "", 200},
		{"GET", "/v1/pools", "", 200},
		{"GET", "/v1/pools/db", "", 200},
		{"GET", "/v1/pools/no", "", 404},
		{"GET", "/v1/epochs", "", 200},
		{"GET", "/v1/conns?pool=db&limit=10", "", 200},
		{"GET", "/v1/conns?limit=0", "", 400},
		{"GET", "/v1/events?follow=no", "", 200},
		{"GET", "/v1/dns", "", 200},
		{"GET", "/v1/listeners/front/explain?source=192.0.2.1", "", 200},
		{"GET", "/v1/listeners/no/explain?source=192.0.2.1", "", 404},
		{"DELETE", fmt.Sprint("/v1/conns/", id), "", 200}, // while it lives: maint will close it
		{"POST", "/v1/pools/db/peers/" + peer + "/drain", "{}", 200},
		{"POST", "/v1/pools/db/peers/" + peer + "/maint", "{}", 200},
		{"POST", "/v1/pools/db/peers/" + peer + "/ready", "{}", 200},
		{"POST", "/v1/pools/db/peers/" + peer + "/weight", `{"weight": 3}`, 200},
		{"POST", "/v1/pools/db/peers/" + peer + "/weight", `{"weight": null}`, 200},
		{"POST", "/v1/pools/db/peers/" + peer + "/weight", `{"weight": -3}`, 400},
		{"POST", "/v1/pools/db/peers/192.0.2.1:1/drain", "{}", 404},
		{"POST", "/v1/pools/db/hold", "{}", 200},
		{"POST", "/v1/pools/db/release", "{}", 200},
		{"POST", "/v1/pools/db/switch", `{"to": "` + peer + `", "timeout": "1s"}`, 409},
		{"POST", "/v1/dns/refresh", "{}", 200},
		{"POST", "/v1/dns/refresh", `{"name": "no.test"}`, 404},
		{"POST", "/v1/reload", "{}", 200},
		{"POST", "/v1/reload/plan", fmt.Sprintf(`{"file": "f", "text": %q}`, text), 409}, // this one has been started without a file
		{"DELETE", "/v1/conns/4711", "", 404},
		{"DELETE", "/v1/conns?listener=front", "", 200},
		{"DELETE", "/v1/conns", "", 400},
	} {
		url := "http://" + r.server.running().admin.Addr() + ask.path
		req, err := http.NewRequestWithContext(t.Context(), ask.method, url, strings.NewReader(ask.body))
		if err != nil {
			t.Fatal(err)
		}
		if ask.method == "POST" {
			req.Header.Set("Content-Type", "application/json")
		}
		route, params, err := router.FindRoute(req)
		if err != nil {
			t.Errorf("%s %s: %v", ask.method, ask.path, err)
			continue
		}
		in := &openapi3filter.RequestValidationInput{
			Request: req, PathParams: params, Route: route,
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
		}
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil && ask.status < 400 {
			t.Errorf("%s %s: the request: %v", ask.method, ask.path, err)
		}
		req.Body = io.NopCloser(strings.NewReader(ask.body))
		client := http.Client{Timeout: patience}
		reply, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		if err != nil || reply.StatusCode != ask.status || len(body) == 0 {
			t.Errorf("%s %s: %d, want %d: %v %.300s", ask.method, ask.path, reply.StatusCode, ask.status, err, body)
		}
		if reply.StatusCode >= 400 && strings.HasPrefix(reply.Header.Get("Content-Type"), "text/plain") {
			continue // why not, for a program that probes
		}
		out := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: in, Status: reply.StatusCode, Header: reply.Header, Body: io.NopCloser(bytes.NewReader(body)),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}
		if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
			t.Errorf("%s %s: the answer %d: %v", ask.method, ask.path, reply.StatusCode, err)
		}
		delete(left, ask.method+" "+route.Path)
	}
	for operation := range left {
		t.Errorf("nothing was asked of %s", operation)
	}
}
