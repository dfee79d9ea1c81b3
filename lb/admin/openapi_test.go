package admin

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// description asks for the document, and gives its paths and its schemas.
func description(t *testing.T, s *Server) (paths map[string]map[string]map[string]any, schemas map[string]any) {
	t.Helper()
	code, _, body := ask(t, s, "GET", "/v1/openapi.json")
	var doc struct {
		OpenAPI    string                               `json:"openapi"`
		Paths      map[string]map[string]map[string]any `json:"paths"`
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || code != 200 || doc.OpenAPI != "3.1.0" {
		t.Fatalf("%d %v %.300s", code, err, body)
	}
	for _, ref := range regexp.MustCompile(`"#/components/schemas/(.*?)"`).FindAllStringSubmatch(body, -1) {
		if doc.Components.Schemas[ref[1]] == nil {
			t.Errorf("no schema %q", ref[1])
		}
	}
	return doc.Paths, doc.Components.Schemas
}

// Every route of the API is described and every description is of a route; docs/admin.md has the paths too.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	s := start(t, Settings{Listen: "127.0.0.1:0"}, example())
	paths, _ := description(t, s)
	served := make(map[string]bool)
	for _, r := range routes(example(), NewMetrics(nothing), s.streams) {
		key := r.method + " " + r.path
		served[key] = true
		said := paths[r.path][strings.ToLower(r.method)]
		if strings.HasPrefix(r.path, "/v1/") && (said == nil || said["summary"] == "") {
			t.Errorf("%s is not described", key)
		}
		if (r.method == "POST") != (said["requestBody"] != nil) {
			t.Errorf("%s: body %v", key, said["requestBody"])
		}
		if n := strings.Count(r.path, "{"); said != nil && len(said["parameters"].([]any)) < n {
			t.Errorf("%s: %v", key, said["parameters"])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(operations)) {
		if !served[key] {
			t.Errorf("%s is described and not served", key)
		}
	}
	text, err := os.ReadFile("../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "/v1/openapi.json") {
		t.Error("docs/admin.md does not name it")
	}
}

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// The description that is checked in is the one that is served.
func TestOpenAPIIsCheckedIn(t *testing.T) {
	const path = "../../docs/openapi.json"
	s := start(t, Settings{Listen: "127.0.0.1:0"}, example())
	_, _, body := ask(t, s, "GET", "/v1/openapi.json")
	var want bytes.Buffer
	if err := json.Indent(&want, []byte(body), "", "  "); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("docs/openapi.json is not what is served (%v): go test ./lb/admin -run OpenAPI -update", err)
	}
}

// What is sent has what its schema says, and nothing else.
func TestOpenAPIHasTheDocuments(t *testing.T) {
	s := start(t, Settings{Listen: "127.0.0.1:0"}, example())
	_, schemas := description(t, s)
	var fits func(at string, v any, schema map[string]any)
	fits = func(at string, v any, schema map[string]any) {
		if ref, ok := schema["$ref"].(string); ok {
			schema, _ = schemas[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any)
		}
		want, _ := schema["type"].(string)
		switch v := v.(type) {
		case map[string]any:
			properties, _ := schema["properties"].(map[string]any)
			for name, e := range v {
				p, ok := properties[name].(map[string]any)
				if !ok {
					t.Errorf("%s.%s is not described", at, name)
					continue
				}
				fits(at+"."+name, e, p)
			}
			for _, name := range schema["required"].([]any) {
				if _, ok := v[name.(string)]; !ok {
					t.Errorf("%s has no %s", at, name)
				}
			}
		case []any:
			items, _ := schema["items"].(map[string]any)
			for _, e := range v {
				fits(at, e, items)
			}
		case string:
			if want != "string" {
				t.Errorf("%s is a string, not %s", at, want)
			}
		case float64:
			if want != "number" && want != "integer" {
				t.Errorf("%s is a number, not %s", at, want)
			}
		case bool:
			if want != "boolean" {
				t.Errorf("%s is a boolean, not %s", at, want)
			}
		}
	}
	ref := func(name string) map[string]any { return map[string]any{"$ref": "#/components/schemas/" + name} }
	for path, schema := range map[string]map[string]any{
		"/v1/status": ref("Status"), "/v1/pools/db": ref("Pool"), "/v1/epochs": {"items": ref("PoolEpochs")}, "/v1/dns": {"items": ref("Name")},
		"/v1/nothing": ref("problem"),
	} {
		_, _, body := ask(t, s, "GET", path)
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatal(err)
		}
		fits(path, v, schema)
	}
}
