package config

import (
	"fmt"
	"slices"
	"strings"
)

// Advice: what a key or a word that is not known was perhaps meant to be.

// meanings are words of other programs, folded, and ours for them; of several the first that may stand there.
var meanings = map[string]string{
	// keys
	"address": "listen host", "addr": "listen host", "bind": "listen", "ip": "host",
	"algorithm": "balance", "lb": "balance", "method": "balance", "policy": "balance", "strategy": "balance",
	"server": "backend servers", "servers": "backend", "member": "backend", "members": "backend", "peer": "backend", "peers": "backend",
	"endpoint": "backend", "endpoints": "backend", "upstreams": "backend", "target": "pool backend", "targets": "backend",
	"upstream": "pool backend", "defaultbackend": "pool", "to": "pool", "proxypass": "pool",
	"health": "check", "healthcheck": "check", "type": "kind", "inter": "interval", "username": "user", "login": "user", "pass": "password_file",
	"maxconnections": "max_conns", "retries": "connect_attempts", "nameserver": "servers", "nameservers": "servers",
	"priority": "tier", "backup": "tier", "logging": "log", "file": "target", "output": "target", "api": "admin",
	// words
	"rr": "roundrobin", "lc": "leastconn", "leastconnections": "leastconn", "leastrequest": "leastconn", "iphash": "hash",
	"consistenthash": "hash", "ringhash": "hash", "maglev": "hash", "ewma": "least_time", "sourceip": "source",
	"pg": "postgres", "pgsql": "postgres", "mariadb": "mysql", "valkey": "redis", "ping": "tcp", "script": "exec",
	"master": "primary", "leader": "primary", "writer": "primary", "rw": "primary", "slave": "replica", "standby": "replica",
	"secondary": "replica", "reader": "replica", "ro": "replica",
	"none": "off keep reset", "no": "off", "never": "off", "disabled": "off", "kill": "close", "trace": "debug", "verbose": "debug",
	"iouring": "uring", "ipv6first": "prefer_ipv6", "ipv4first": "prefer_ipv4", "v4": "ipv4", "v6": "ipv6",
}

// meant gives the word that s was probably meant to be; "" if none suggests itself.
func meant(s string, words []string) string {
	for _, w := range strings.Fields(meanings[fold(s)]) {
		if slices.Contains(words, w) {
			return w
		}
	}
	return nearest(s, words)
}

// suggestion ends a problem with the word that was probably meant.
func suggestion(s string, words []string) string {
	if w := meant(s, words); w != "" {
		return fmt.Sprintf(": did you mean %q?", w)
	}
	return ""
}

// home is a table, as a file writes it, and the keys that may stand in it.
type home struct {
	table string
	keys  []string
}

func homes() []home {
	return []home{
		{"the top of the file", known(topKeys)},
		{"[admin]", known(adminKeys)},
		{"[log]", known(logKeys)},
		{"[relay]", known(relayKeys)},
		{"[resolver.NAME]", known(resolverKeys)},
		{"[[listener]]", known(listenerKeys)},
		{"[listener.socket]", known(clientSocketKeys)},
		{"[pool.NAME]", known(poolKeys)},
		{"[pool.NAME.socket]", known(peerSocketKeys)},
		{"[pool.NAME.on]", known(onKeys)},
		{"[[pool.NAME.backend]]", known(backendKeys)},
		{"[pool.NAME.check]", known(checkKeys)},
	}
}

// belongs says in which tables a key may stand; "" if in none.
func (s *source) belongs(name string) string {
	var tables []string
	for _, h := range s.homes {
		if slices.Contains(h.keys, name) {
			tables = append(tables, h.table)
		}
	}
	return strings.Join(tables, " or ")
}

// unknown refuses a key that no table of this kind has.
func (v value) unknown(known []string, name string) {
	if len(v.src.problems) > 1000 { // these are no slips of the pen, and advice takes time
		v.fail("unknown key")
		return
	}
	near, belongs := meant(name, known), v.src.belongs(name)
	switch _, translated := meanings[fold(name)]; {
	case near != "" && (belongs == "" || translated || distance(fold(name), fold(near)) <= 1):
		v.fail("unknown key, did you mean %q?", near)
	case belongs != "":
		v.fail("unknown key here, it belongs to %s", belongs)
	default:
		v.fail("unknown key, expected %s", choice(known))
	}
}
