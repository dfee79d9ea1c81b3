package admin

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// operation is what the description of the API says of a route: in a sentence, which query it takes, and what the bodies of
// the request and of the answer are like. An answer that is a string is no document: the string is its media type.
type operation struct {
	about string
	query string // names, each with what it is after a colon, separated by semicolons
	body  any
	reply any
}

const sessionQuery = "id: of one session; listener: a name; pool: a name; peer: ADDRESS or ADDRESS:PORT; source: an address or a CIDR; " +
	"epoch: an id; min_age: a duration with its unit"

var operations = map[string]operation{
	"GET /livez":         {about: "Whether the process lives. Needs no token", reply: "text/plain"},
	"GET /readyz":        {about: "Whether every pool can serve, and why not. Needs no token, but for the reasons", reply: "text/plain"},
	"GET /readyz/{pool}": {about: "Whether a pool can serve", query: "min: peers that it takes, 1 without it", reply: "text/plain"},
	"GET /metrics":       {about: "The metrics, for Prometheus", reply: "text/plain"},

	"GET /v1/status":       {about: "Everything: listeners, pools, peers, epochs, names", reply: Status{}},
	"GET /v1/openapi.json": {about: "This document", reply: map[string]any{}},

	"GET /v1/pools":                             {about: "All pools", reply: []Pool{}},
	"GET /v1/pools/{pool}":                      {about: "One pool", reply: Pool{}},
	"POST /v1/pools/{pool}/peers/{peer}/drain":  {about: "Give a peer no new sessions", body: struct{}{}, reply: PeerReply{}},
	"POST /v1/pools/{pool}/peers/{peer}/ready":  {about: "Put a peer back", body: struct{}{}, reply: PeerReply{}},
	"POST /v1/pools/{pool}/peers/{peer}/maint":  {about: "Take a peer out for maintenance", body: struct{}{}, reply: PeerReply{}},
	"POST /v1/pools/{pool}/peers/{peer}/weight": {about: "Give a peer another weight: 0 to 65535, or null for that of the config or DNS", body: WeightRequest{}, reply: PeerReply{}},
	"POST /v1/pools/{pool}/hold":                {about: "Let the new clients of a pool wait", body: struct{}{}, reply: HoldReply{}},
	"POST /v1/pools/{pool}/release":             {about: "Let the waiting clients of a pool go", body: struct{}{}, reply: HoldReply{}},
	"POST /v1/pools/{pool}/switch":              {about: "Hold a pool until a peer is its primary; the answer is a SwitchStep a line", body: SwitchRequest{}, reply: "application/x-ndjson"},
	"GET /v1/listeners/{listener}/explain":      {about: "Where a new client would go, and why", query: "source: ADDRESS or ADDRESS:PORT of the client; sni: the name that its ClientHello asks for", reply: Explanation{}},
	"GET /v1/epochs":                            {about: "The epochs of all pools, and the sessions that each holds", reply: []PoolEpochs{}},
	"GET /v1/conns":                             {about: "Sessions, the oldest first; the header Ebb-Matched has their number", query: sessionQuery + "; limit: at most as many", reply: []Conn{}},
	"DELETE /v1/conns":                          {about: "End the sessions that a filter lets pass", query: sessionQuery, reply: KillReply{}},
	"DELETE /v1/conns/{id}":                     {about: "End one session", reply: KillReply{}},
	"GET /v1/events":                            {about: "What happens, as server-sent events whose data is an Event", query: "since: the id of an event, to go on after it; follow: yes or no", reply: "text/event-stream"},
	"GET /v1/dns":                               {about: "What is known of names", reply: []Name{}},
	"POST /v1/dns/refresh":                      {about: "Ask DNS now, for a name or for all", body: RefreshRequest{}, reply: RefreshReply{}},
	"POST /v1/reload":                           {about: "Read the config again and do what it says", body: struct{}{}, reply: ReloadReply{}},
	http.MethodPost + " " + planPath:            {about: "What a reload would change if the config had this text", body: PlanRequest{}, reply: ReloadReply{}},
}

var pathParameter = regexp.MustCompile(`{(\w+)}`)

// describe makes the OpenAPI document of the routes that have an operation, which all of the API have; the schemas are made
// of the types that are sent.
func describe(list []route) map[string]any {
	s := schemas{}
	s.of(reflect.TypeFor[Event]())
	s.of(reflect.TypeFor[SwitchStep]())
	problems := content("application/json", s.of(reflect.TypeFor[problem]()))
	paths := map[string]map[string]any{}
	for _, r := range list {
		o, ok := operations[r.method+" "+r.path]
		if !ok {
			continue
		}
		parameters := []any{}
		for _, m := range pathParameter.FindAllStringSubmatch(r.path, -1) {
			parameters = append(parameters, map[string]any{"name": m[1], "in": "path", "required": true, "schema": typed("string")})
		}
		for one := range strings.SplitSeq(o.query, "; ") {
			if name, about, ok := strings.Cut(one, ": "); ok {
				parameters = append(parameters, map[string]any{"name": name, "in": "query", "description": about, "schema": typed("string")})
			}
		}
		media, schema := "application/json", any(typed("string"))
		if text, ok := o.reply.(string); ok {
			media = text
		} else {
			schema = s.of(reflect.TypeOf(o.reply))
		}
		said := map[string]any{
			"summary": o.about, "parameters": parameters,
			"responses": map[string]any{
				"200":     map[string]any{"description": "done", "content": content(media, schema)},
				"default": map[string]any{"description": "why not", "content": problems},
			},
		}
		if o.body != nil {
			said["requestBody"] = map[string]any{"required": true, "content": content("application/json", s.of(reflect.TypeOf(o.body)))}
		}
		if paths[r.path] == nil {
			paths[r.path] = map[string]any{}
		}
		paths[r.path][strings.ToLower(r.method)] = said
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "ebb", "version": "v1",
			"description": "Durations are numbers of seconds, times are RFC 3339 in UTC. A token is wanted only where one is configured.",
		},
		"security": []any{map[string]any{}, map[string]any{"bearer": []string{}}, map[string]any{"basic": []string{}}},
		"paths":    paths,
		"components": map[string]any{
			"schemas": s,
			"securitySchemes": map[string]any{
				"bearer": map[string]any{"type": "http", "scheme": "bearer"}, "basic": map[string]any{"type": "http", "scheme": "basic"},
			},
		},
	}
}

func content(media string, schema any) map[string]any {
	return map[string]any{media: map[string]any{"schema": schema}}
}

func typed(name string) map[string]any { return map[string]any{"type": name} }

// schemas are those of the structs, by name.
type schemas map[string]any

// of gives the schema of a type as encoding/json writes it.
func (s schemas) of(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{} // anything
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.ofStruct(t)
	case reflect.Bool:
		return typed("boolean")
	case reflect.String:
		return typed("string")
	case reflect.Float64:
		return typed("number")
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return typed("integer")
	case reflect.Interface:
		return map[string]any{}
	}
	panic("admin: no schema for " + t.String())
}

func (s schemas) ofStruct(t reflect.Type) map[string]any {
	ref := map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	if s[t.Name()] != nil {
		return ref
	}
	properties, required := map[string]any{}, []string{}
	schema := map[string]any{"type": "object", "properties": properties}
	if t.Name() == "" {
		return schema
	}
	s[t.Name()] = schema
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		properties[name] = s.of(t.Field(i).Type)
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
	}
	schema["required"] = required
	return ref
}
