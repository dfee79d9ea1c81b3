package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// Check is an active health check.
type Check struct {
	Kind          string
	Interval      time.Duration
	Timeout       time.Duration
	FastInterval  time.Duration
	Fall          int
	Rise          int
	RefusedIsDown bool

	Want   string        // primary, replica, any
	MaxLag time.Duration // of a replica; 0 is no limit
	Single bool          // with Want primary: of several that say they are, one is used

	Port        int    // 0 is the peer's own
	Proxy       string // off, v1, v2
	TLS         string // off, require, verify
	TLSName     string // "" is the peer's address
	TLSCAFile   string `key:"tls_ca_file"` // "" is the CAs of the system
	TLSCertFile string // "" is none
	TLSKeyFile  string // "" is none

	User         string // "" is nobody
	PasswordFile string // "" is none
	Database     string

	Sentinels            []string // HOST:PORT of each
	SentinelPrimary      string   // "" only without Sentinels
	Quorum               int      // 0 is more than half
	SentinelUser         string
	SentinelPasswordFile string

	Protocol  string // auto, tcp, udp
	Steps     []Step
	Query     string // "." is the root
	QueryType string
	Command   []string

	Method     string
	Path       string
	Host       string // "" is the address asked
	Expect     string
	ExpectBody string // "" is any
}

var checkKindWords = strings.Fields(checkKinds)

const checkKinds = "tcp tls http send_expect dns postgres mysql redis exec agent"

var checkKeys = []key[Check]{
	{name: "kind", read: func(c *Check, v value) {
		v.word(&c.Kind, checkKinds, "")
	}, need: choice(checkKindWords)},
	{name: "interval", read: func(c *Check, v value) { v.duration(&c.Interval, minInterval, "") }},
	{name: "timeout", read: func(c *Check, v value) { v.duration(&c.Timeout, time.Millisecond, "") }},
	{name: "fast_interval", read: func(c *Check, v value) { v.duration(&c.FastInterval, minInterval, "") }},
	{name: "fall", read: func(c *Check, v value) { v.int(&c.Fall, 1, 100, "") }},
	{name: "rise", read: func(c *Check, v value) { v.int(&c.Rise, 1, 100, "") }},
	{name: "refused_is_down", read: func(c *Check, v value) { v.bool(&c.RefusedIsDown) }},
	{name: "port", read: func(c *Check, v value) { v.int(&c.Port, 1, 65535, "peer") }},
	{name: "proxy", read: func(c *Check, v value) { v.word(&c.Proxy, "off v1 v2", "") }},
	{name: "tls", read: func(c *Check, v value) { v.word(&c.TLS, "off require verify", "") }},
	{name: "tls_name", read: func(c *Check, v value) { v.tlsName(&c.TLSName) }},
	{name: "tls_ca_file", read: func(c *Check, v value) { v.file(&c.TLSCAFile, "system") }},
	{name: "tls_cert_file", read: func(c *Check, v value) { v.file(&c.TLSCertFile, "off") }},
	{name: "tls_key_file", read: func(c *Check, v value) { v.secretFile(&c.TLSKeyFile) }},
	{name: "method", read: func(c *Check, v value) { v.word(&c.Method, "GET HEAD OPTIONS", "") }},
	{name: "path", read: func(c *Check, v value) { v.httpPath(&c.Path) }},
	{name: "host", read: func(c *Check, v value) { v.line(&c.Host, "a host as HTTP names it, or \"\" for the address asked") }},
	{name: "expect", read: func(c *Check, v value) { v.codes(&c.Expect) }},
	{name: "expect_body", read: func(c *Check, v value) { v.regexp(&c.ExpectBody) }},
	{name: "user", read: func(c *Check, v value) { v.line(&c.User, "the name of an account, or \"\" for none") }},
	{name: "password_file", read: func(c *Check, v value) { v.secretFile(&c.PasswordFile) }},
	{name: "database", read: func(c *Check, v value) { v.line(&c.Database, "the name of a database") }},
	{name: "sentinels", read: func(c *Check, v value) { v.hostPorts(&c.Sentinels) }},
	{name: "sentinel_primary", read: func(c *Check, v value) {
		v.line(&c.SentinelPrimary, "the name under which the sentinels watch the primary")
	}},
	{name: "quorum", read: func(c *Check, v value) { v.int(&c.Quorum, 1, 100, "majority") }},
	{name: "sentinel_user", read: func(c *Check, v value) {
		v.line(&c.SentinelUser, "the name of an account, or \"\" for none")
	}},
	{name: "sentinel_password_file", read: func(c *Check, v value) { v.secretFile(&c.SentinelPasswordFile) }},
	{name: "want", read: func(c *Check, v value) { v.word(&c.Want, "any primary replica", "") }},
	{name: "max_lag", read: func(c *Check, v value) { v.duration(&c.MaxLag, time.Millisecond, "off") }},
	{name: "single", read: func(c *Check, v value) { v.bool(&c.Single) }},
	{name: "protocol", read: func(c *Check, v value) { v.word(&c.Protocol, "auto tcp udp", "") }},
	{name: "steps", read: readSteps},
	{name: "query", read: func(c *Check, v value) { v.dnsName(&c.Query) }},
	{name: "query_type", read: func(c *Check, v value) { v.word(&c.QueryType, "A AAAA CNAME MX NS PTR SOA SRV TXT", "") }},
	{name: "command", read: func(c *Check, v value) { v.command(&c.Command) }},
}

const (
	connecting = "port proxy "
	securing   = "tls tls_name tls_ca_file tls_cert_file tls_key_file "
	loggingIn  = "user password_file "
	choosing   = "want max_lag single "
)

// checkUses says what each kind has a use for, besides what all have. A key that stands nowhere here is for all.
var checkUses = map[string]string{
	"tcp":  connecting,
	"tls":  connecting + securing,
	"http": connecting + securing + "method path host expect expect_body",

	"send_expect": connecting + securing + "protocol steps",
	"dns":         "port protocol query query_type",
	"exec":        "port command " + choosing,
	"agent":       connecting + securing,

	"postgres": connecting + securing + loggingIn + choosing + "database",
	"mysql":    connecting + securing + loggingIn + choosing,
	"redis":    connecting + securing + loggingIn + choosing + "sentinels sentinel_primary quorum sentinel_user sentinel_password_file",
}

func readCheck(p *Pool, v value) {
	c := *unset.Pools[0].Check
	if !readTable(v, checkKeys, &c) {
		return
	}
	if c.Kind == "tls" && !v.has("tls") {
		c.TLS = "require"
	}
	switch {
	case !v.has("fast_interval"):
		c.FastInterval = min(c.FastInterval, c.Interval)
	case v.sound("interval", "fast_interval") && c.FastInterval > c.Interval:
		v.written("fast_interval").fail("found %s above interval %s, expected at most as much", Brief(c.FastInterval), Brief(c.Interval))
	}
	if v.sound("kind") && c.Kind != "" {
		v.checkUses(c.Kind)
	}
	v.checkTLS(&c)
	v.checkLogin(&c)
	v.checkSentinels(&c)
	v.checkRoles(&c)
	v.checkNeeds(&c)
	p.Check = &c
}

// checkUses refuses keys that a kind has no use for, unless they say what holds anyway.
func (v value) checkUses(kind string) {
	entries, _ := v.table()
	for _, e := range entries {
		name := e.key
		var users []string
		for _, k := range checkKindWords {
			if slices.Contains(strings.Fields(checkUses[k]), name) {
				users = append(users, k)
			}
		}
		k := find(checkKeys, name)
		if len(users) == 0 || slices.Contains(users, kind) || k == nil || k.read == nil || !v.sound(name) {
			continue
		}
		c := *unset.Pools[0].Check
		k.read(&c, e)
		if !reflect.DeepEqual(c, *unset.Pools[0].Check) {
			e.fail("found with kind %q, which has no use for it, expected with kind %s", kind, choice(users))
		}
	}
}

// checkTLS judges the keys for TLS together.
func (v value) checkTLS(c *Check) {
	if !v.sound("kind", "tls", "tls_name", "tls_ca_file", "tls_cert_file", "tls_key_file") {
		return
	}
	off := c.TLS == "off"
	switch {
	case off && c.Kind == "tls":
		v.written("tls").fail("found \"off\" with kind \"tls\", expected \"require\" or \"verify\"")
	case off && c.TLSName+c.TLSCAFile+c.TLSCertFile+c.TLSKeyFile != "":
		v.written("tls_name", "tls_ca_file", "tls_cert_file", "tls_key_file").fail("found without TLS, expected with tls = \"verify\"")
	case c.TLS == "require" && c.TLSCAFile != "":
		v.written("tls_ca_file").fail("found with tls = \"require\", which believes every certificate, expected with tls = \"verify\"")
	case (c.TLSCertFile == "") != (c.TLSKeyFile == ""):
		v.written("tls_cert_file", "tls_key_file").fail("found one of tls_cert_file and tls_key_file, expected both or none")
	}
}

// checkLogin judges the keys for an account together. Redis has an account without a name.
func (v value) checkLogin(c *Check) {
	if v.sound("kind", "user", "password_file") && c.PasswordFile != "" && c.User == "" && (c.Kind == "postgres" || c.Kind == "mysql") {
		v.written("password_file").fail("found without user, expected both")
	}
}

// checkSentinels judges the keys for sentinels together.
func (v value) checkSentinels(c *Check) {
	names := []string{"sentinel_primary", "quorum", "sentinel_user", "sentinel_password_file"}
	switch {
	case !v.sound(append(names, "kind", "sentinels")...) || c.Kind != "redis":
	case len(c.Sentinels) == 0 && (c.SentinelPrimary != "" || c.Quorum != 0 || c.SentinelUser != "" || c.SentinelPasswordFile != ""):
		v.written(names...).fail("found without sentinels, expected with the addresses of some")
	case len(c.Sentinels) > 0 && c.SentinelPrimary == "":
		v.written("sentinel_primary", "sentinels").fail("found sentinels without sentinel_primary, expected the name under which they watch the primary")
	case c.Quorum > len(c.Sentinels) && len(c.Sentinels) > 0:
		v.written("quorum").fail("found %d of %d sentinels, expected at most as many as there are", c.Quorum, len(c.Sentinels))
	case c.SentinelUser != "" && c.SentinelPasswordFile == "":
		v.written("sentinel_user").fail("found without sentinel_password_file, expected both")
	}
}

// checkRoles judges together what is wanted of peers, and who can tell.
func (v value) checkRoles(c *Check) {
	if !v.sound("kind", "user", "want", "max_lag", "single") {
		return
	}
	switch {
	case c.Want == "primary" && c.MaxLag > 0:
		v.written("max_lag").fail("found with want = \"primary\", which is behind nobody, expected with \"replica\" or \"any\"")
	case c.Want != "primary" && !c.Single:
		v.written("single").fail("found with want = %q, expected with \"primary\": nothing else takes writes", c.Want)
	case (c.Want != "any" || c.MaxLag > 0) && c.User == "" && (c.Kind == "postgres" || c.Kind == "mysql"):
		v.written("want", "max_lag").fail("found without user, expected both: %s tells role and lag only to an account", c.Kind)
	}
}

// checkNeeds asks for what a kind cannot do without.
func (v value) checkNeeds(c *Check) {
	if !v.sound("kind", "port", "steps", "command", "protocol", "tls", "proxy") {
		return
	}
	need := func(missing bool, name, what string) {
		if missing {
			v.child(name, nil).fail("missing with kind %q, expected %s", c.Kind, what)
		}
	}
	need(c.Kind == "send_expect" && len(c.Steps) == 0, "steps", stepForms)
	need(c.Kind == "exec" && len(c.Command) == 0, "command", commandForm)
	need(c.Kind == "agent" && c.Port == 0, "port", "that of the agent")
	if c.Kind == "send_expect" && c.Protocol == "udp" && (c.TLS != "off" || c.Proxy != "off") {
		v.written("tls", "proxy").fail("found with protocol = \"udp\", expected with TCP")
	}
}
