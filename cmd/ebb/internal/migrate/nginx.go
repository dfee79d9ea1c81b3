package migrate

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nginx is an nginx config that is being read.
type nginx struct {
	*report
	draft
	upstreams map[string]*directive
	zones     map[string]string // of limit_conn, and what they count
	used      map[string]bool   // upstreams

	poolNames, listenerNames, resolverNames *names
}

// Nginx reads an nginx config. open gives the files that an include names, by an absolute path or a pattern of them.
func Nginx(in Input, open func(pattern string) ([]Input, error)) *Result {
	n := &nginx{
		report: new(report), upstreams: make(map[string]*directive), zones: make(map[string]string), used: make(map[string]bool),
		poolNames: newNames(), listenerNames: newNames(), resolverNames: newNames(),
	}
	r := &nginxReader{report: n.report, base: filepath.Dir(in.Name), open: open}
	for _, d := range r.file(in) {
		switch name := d.name(); {
		case name == "stream" && d.block:
			n.stream(d)
		case name == "http" && d.block:
			if slices.ContainsFunc(d.inner, func(d *directive) bool { return d.name() == "server" }) {
				n.refuse(d.at, name, "ebb carries connections, not requests: keep nginx for its servers")
			}
		case name == "mail" && d.block:
			n.refuse(d.at, name, "ebb speaks no mail protocols: carry them with listeners of their own")
		case name == "upstream" || name == "server":
			n.refuse(d.at, name, "it stands outside of stream { }: give this command the file that includes it, such as nginx.conf")
		case slices.Contains(nginxMain, name):
		default:
			n.refuse(d.at, name, "this import does not know it; if it says nothing about stream { }, take it out")
		}
	}
	return n.result(n.report)
}

// nginxMain say something about the process.
var nginxMain = []string{
	"user", "daemon", "master_process", "worker_processes", "worker_cpu_affinity", "worker_priority", "worker_rlimit_nofile", "worker_rlimit_core",
	"worker_shutdown_timeout", "working_directory", "pid", "lock_file", "error_log", "events", "env", "load_module", "pcre_jit", "timer_resolution",
	"thread_pool", "debug_points", "ssl_engine", "ssl_object_cache_inheritable", "google_perftools_profiles", "quic_bpf",
}

func (n *nginx) stream(s *directive) {
	for _, d := range s.inner {
		switch d.name() {
		case "upstream":
			if d.arg(1) == "" {
				n.refuse(d.at, "upstream", "its name is missing")
			} else if n.upstreams[d.arg(1)] != nil {
				n.refuse(d.at, "upstream "+d.arg(1), "there is another one of this name")
			} else {
				n.upstreams[d.arg(1)] = d
			}
		case "limit_conn_zone":
			for _, w := range d.rest(2) {
				if zone, ok := strings.CutPrefix(w, "zone="); ok {
					zone, _, _ = strings.Cut(zone, ":")
					n.zones[zone] = d.arg(1)
				}
			}
		case "map", "geo", "split_clients", "js_import", "js_set":
			n.refuse(d.at, d.name(), "a listener of ebb has one pool, and no variables choose it: give each choice a port, and a listener, of its own")
		}
	}
	outer := n.settings(s.inner, nil)
	for _, d := range s.inner {
		if d.name() == "server" && d.block {
			n.server(d, n.settings(d.inner, outer))
		}
	}
	for _, d := range s.inner {
		if d.name() == "upstream" && d.block && n.upstreams[d.arg(1)] == d && !n.used[d.arg(1)] {
			n.note(d.at, "upstream "+d.arg(1), "no server that is carried over uses it, and it is left out")
		}
	}
}

// settings are the directives of a server by name, those of stream { } included.
type settings map[string][]*directive

// nginxLists are directives that may stand there many times; one of them in a server hides all of the outer ones.
var nginxLists = []string{"allow", "deny", "limit_conn", "set_real_ip_from", "listen", "set", "server_name", "access_log", "error_log"}

func (n *nginx) settings(list []*directive, outer settings) settings {
	s := make(settings)
	for _, d := range list {
		name := d.name()
		if name == "deny" {
			name = "allow" // their order counts
		}
		if slices.Contains(nginxLists, name) {
			s[name] = append(s[name], d)
			continue
		}
		s[name] = []*directive{d}
		n.look(d, outer == nil)
	}
	for name, list := range outer {
		if s[name] == nil && name != "server" && name != "upstream" && name != "set" {
			s[name] = list
		}
	}
	return s
}

// look judges a directive by its name.
func (n *nginx) look(d *directive, outer bool) {
	name := d.name()
	switch {
	case slices.Contains(nginxUsed, name):
	case outer && slices.Contains([]string{"upstream", "server", "limit_conn_zone", "map", "geo", "split_clients", "js_import", "js_set"}, name):
	case nginxRefused[name] != "" && d.arg(1) != "off":
		n.refuse(d.at, name, "%s", nginxRefused[name])
	case nginxNotes[name] != "":
		n.note(d.at, name, "%s", nginxNotes[name])
	case nginxRefused[name] != "", slices.Contains(nginxQuiet, name):
	default:
		n.refuse(d.at, name, "this import does not know it; if it changes nothing about connections, take it out")
	}
}

// first gives the directive of a name; nil if there is none.
func (s settings) first(name string) *directive {
	if list := s[name]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// on tells that a directive is there, and on.
func (s settings) on(name string) bool { return s.first(name) != nil && s.first(name).arg(1) == "on" }

// span reads a time: seconds, or with a unit.
func (n *nginx) span(d *directive) (time.Duration, bool) {
	t, ok := duration(d.arg(1), time.Second)
	if !ok {
		n.refuse(d.at, d.name(), "found %q, expected a time such as 30s, of at most a year", printable(d.arg(1)))
	}
	return t, ok
}

// count reads a whole number.
func (n *nginx) count(at place, what, text string, low, high int) (int, bool) {
	i, err := strconv.Atoi(text)
	if err != nil || i < low || i > high {
		n.refuse(at, what, "found %q, expected a number from %d to %d", printable(text), low, high)
		return 0, false
	}
	return i, true
}

var nginxUsed = []string{
	"proxy_pass", "proxy_timeout", "proxy_connect_timeout", "proxy_protocol", "proxy_protocol_timeout", "proxy_responses", "proxy_requests", "proxy_next_upstream",
	"proxy_next_upstream_tries", "proxy_next_upstream_timeout", "proxy_half_close", "proxy_bind", "resolver", "resolver_timeout",
}

var nginxQuiet = []string{
	"proxy_buffer_size", "preread_buffer_size", "preread_timeout", "tcp_nodelay", "log_format", "status_zone", "limit_conn_log_level",
	"variables_hash_max_size", "variables_hash_bucket_size", "map_hash_max_size", "map_hash_bucket_size", "server_names_hash_max_size",
	"server_names_hash_bucket_size", "proxy_session_drop", "ssl_preread", "ssl_certificate", "ssl_certificate_key", "ssl_protocols", "ssl_ciphers", "ssl_session_cache",
	"ssl_session_timeout", "ssl_session_tickets", "ssl_prefer_server_ciphers", "ssl_handshake_timeout", "ssl_dhparam", "ssl_trusted_certificate", "ssl_client_certificate", "ssl_verify_depth", "ssl_ecdh_curve", "ssl_conf_command", "open_log_file_cache",
}

var nginxNotes = map[string]string{
	"proxy_socket_keepalive": "ebb asks peers that are silent always, and clients too: keepalive_idle of [pool.NAME.socket] and [listener.socket]",
}

var nginxRefused = map[string]string{
	"proxy_download_rate":    "ebb does not limit bandwidth",
	"proxy_upload_rate":      "ebb does not limit bandwidth",
	"proxy_ssl":              "ebb does not encrypt: TLS of the client passes as it is; else keep a proxy for TLS between ebb and the server",
	"ssl_verify_client":      "ebb does not end TLS",
	"return":                 "ebb says nothing of its own",
	"pass":                   "ebb passes sessions to peers, not to its own listeners",
	"js_access":              "ebb runs no scripts",
	"js_filter":              "ebb runs no scripts",
	"js_preread":             "ebb runs no scripts",
	"limit_conn_dry_run":     "ebb does what it is told: leave the limit out",
	"health_check":           "write a [pool.NAME.check]: docs/health.md has its kinds",
	"match":                  "write a [pool.NAME.check] of kind send_expect: docs/health.md",
	"zone_sync":              "ebb shares no tables between instances",
	"zone_sync_server":       "ebb shares no tables between instances",
	"ssl_alpn":               "ebb does not end TLS",
	"proxy_protocol_version": "write proxy_out = \"v1\" or \"v2\" of the pool",
	"virtual_server":         "ebb looks at no names inside of a session",
}
