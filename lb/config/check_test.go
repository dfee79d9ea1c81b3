package config

import (
	"os"
	"path/filepath"
	"testing"
)

// A key that a kind has no use for is refused, unless it says what holds anyway; keys that go together are judged so.
func TestCheckKeys(t *testing.T) {
	dir := t.TempDir()
	secret, open := filepath.Join(dir, "secret"), filepath.Join(dir, "open")
	for file, mode := range map[string]os.FileMode{secret: 0o400, open: 0o640} {
		if err := os.WriteFile(file, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, keys string
		want       []string
	}{
		{"all of http", `kind = "http"
port = 8008
proxy = "v2"
tls = "verify"
tls_name = "db.test"
tls_ca_file = "/ca.pem"
tls_cert_file = "/cert.pem"
tls_key_file = "` + secret + `"
method = "OPTIONS"
path = "/primary?lag=1MB"
host = "db.test:8008"
expect = "200, 5xx,300-399"
expect_body = "^x$"`, nil},
		{"defaults are no use", `kind = "tcp"
tls = "off"
path = "/"
expect_body = ""`, nil},
		{"no use", `kind = "tcp"
tls = "verify"
path = "/health"`, []string{
			`f:11: pool.p.check.tls: found with kind "tcp", which has no use for it, expected with kind "tls", "http", "send_expect", "postgres", "mysql", "redis" or "agent"`,
			`f:12: pool.p.check.path: found with kind "tcp", which has no use for it, expected with kind "http"`,
		}},
		{"wrong and no use", `kind = "tls"
path = "health"`, []string{`f:11: pool.p.check.path: found "health", expected a path as HTTP has it, such as "/health?full=1"`}},
		{"paths", `kind = "http"
path = ""`, []string{`f:11: pool.p.check.path: found "", expected a path as HTTP has it, such as "/health?full=1"`}},
		{"two lines", `kind = "http"
host = "a\nb"`, []string{`f:11: pool.p.check.host: found "a\nb", expected a host as HTTP names it, or "" for the address asked: one line of at most 1000 bytes, without control characters`}},
		{"codes", `kind = "http"
expect = "2xx,600"`, []string{`f:11: pool.p.check.expect: found "2xx,600", expected status codes, such as "200", "2xx", "200-399" or "200,301"`}},
		{"codes in disorder", `kind = "http"
expect = "399-200"`, []string{`f:11: pool.p.check.expect: found "399-200", expected status codes, such as "200", "2xx", "200-399" or "200,301": 399 is above 200`}},
		{"regular expression", `kind = "http"
expect_body = "("`, []string{"f:11: pool.p.check.expect_body: found \"(\", expected a regular expression: missing closing ): `(`"}},
		{"kind tls without", `kind = "tls"
tls = "off"`, []string{`f:11: pool.p.check.tls: found "off" with kind "tls", expected "require" or "verify"`}},
		{"names without TLS", `kind = "http"
tls_name = "db.test"`, []string{`f:11: pool.p.check.tls_name: found without TLS, expected with tls = "verify"`}},
		{"a CA that is not asked", `kind = "tls"
tls_ca_file = "/ca.pem"`, []string{`f:11: pool.p.check.tls_ca_file: found with tls = "require", which believes every certificate, expected with tls = "verify"`}},
		{"half a pair", `kind = "tls"
tls_cert_file = "/cert.pem"`, []string{`f:11: pool.p.check.tls_cert_file: found one of tls_cert_file and tls_key_file, expected both or none`}},
		{"a key that others may read", `kind = "tls"
tls_key_file = "` + open + `"`, []string{`f:11: pool.p.check.tls_key_file: found "` + open + `", expected a file that only its owner may read: its mode is 640, chmod 600 makes it so`}},
		{"a key that is not there", `kind = "tls"
tls_key_file = "` + dir + `/x"`, []string{`f:11: pool.p.check.tls_key_file: found "` + dir + `/x", expected an absolute path, or "off": there is no such file`}},
		{"a key that is a folder", `kind = "tls"
tls_key_file = "` + dir + `"`, []string{`f:11: pool.p.check.tls_key_file: found "` + dir + `", expected an absolute path, or "off": this is no plain file`}},
		{"an impossible name", `kind = "tls"
tls_name = "a..b"`, []string{`f:11: pool.p.check.tls_name: found "a..b", expected a DNS name, an IP address, or "address" for the peer's own: it has an empty label, that is two dots in a row or one at the beginning`}},
		{"all of postgres", `kind = "postgres"
tls = "require"
user = "ebb"
password_file = "` + secret + `"
database = "app"`, nil},
		{"roles", `kind = "postgres"
user = "ebb"
want = "replica"
max_lag = "10s"`, nil},
		{"several primaries", `kind = "mysql"
user = "ebb"
want = "primary"
single = false`, nil},
		{"a role that nobody tells", `kind = "http"
want = "primary"
max_lag = "1s"`, []string{
			`f:11: pool.p.check.want: found with kind "http", which has no use for it, expected with kind "postgres", "mysql", "redis" or "exec"`,
			`f:12: pool.p.check.max_lag: found with kind "http", which has no use for it, expected with kind "postgres", "mysql", "redis" or "exec"`,
		}},
		{"no such role", `kind = "redis"
want = "master"`, []string{`f:11: pool.p.check.want: found "master", expected "any", "primary" or "replica": did you mean "primary"?`}},
		{"a role without account", `kind = "mysql"
want = "replica"`, []string{`f:11: pool.p.check.want: found without user, expected both: mysql tells role and lag only to an account`}},
		{"lag without account", `kind = "postgres"
max_lag = "1s"`, []string{`f:11: pool.p.check.max_lag: found without user, expected both: postgres tells role and lag only to an account`}},
		{"a primary behind itself", `kind = "redis"
want = "primary"
max_lag = "1s"`, []string{`f:12: pool.p.check.max_lag: found with want = "primary", which is behind nobody, expected with "replica" or "any"`}},
		{"several of nothing", `kind = "redis"
single = false`, []string{`f:11: pool.p.check.single: found with want = "any", expected with "primary": nothing else takes writes`}},
		{"all of redis", `kind = "redis"
user = "ebb"
password_file = "` + secret + `"
sentinels = ["10.0.0.1:26379", "s2.test:26379", "[2001:db8::1]:26379"]
sentinel_primary = "main"
quorum = 3
sentinel_user = "ebb"
sentinel_password_file = "` + secret + `"`, nil},
		{"redis without a name", `kind = "redis"
password_file = "` + secret + `"`, nil},
		{"a password for nobody", `kind = "mysql"
password_file = "` + secret + `"`, []string{`f:11: pool.p.check.password_file: found without user, expected both`}},
		{"a password that others may read", `kind = "mysql"
user = "ebb"
password_file = "` + open + `"`, []string{`f:12: pool.p.check.password_file: found "` + open + `", expected a file that only its owner may read: its mode is 640, chmod 600 makes it so`}},
		{"a database of mysql", `kind = "mysql"
database = "app"`, []string{`f:11: pool.p.check.database: found with kind "mysql", which has no use for it, expected with kind "postgres"`}},
		{"sentinels that are none", `kind = "redis"
sentinels = ["10.0.0.1", "x:0", "x:1", "x:1", "a b:1"]
sentinel_primary = "main"`, []string{
			`f:11: pool.p.check.sentinels: found "10.0.0.1", expected HOST:PORT, such as "10.0.0.1:26379", with brackets around an IPv6 address`,
			`f:11: pool.p.check.sentinels: found "x:0", expected HOST:PORT, such as "10.0.0.1:26379", with brackets around an IPv6 address`,
			`f:11: pool.p.check.sentinels: found "x:1" again, expected each once`,
			`f:11: pool.p.check.sentinels: found "a b:1", expected HOST:PORT, such as "10.0.0.1:26379": it has the character ' '; letters, digits, hyphens and underscores are possible`,
		}},
		{"sentinels without a name", `kind = "redis"
sentinels = ["10.0.0.1:26379"]`, []string{`f:11: pool.p.check.sentinels: found sentinels without sentinel_primary, expected the name under which they watch the primary`}},
		{"a name without sentinels", `kind = "redis"
sentinel_primary = "main"`, []string{`f:11: pool.p.check.sentinel_primary: found without sentinels, expected with the addresses of some`}},
		{"a quorum of too many", `kind = "redis"
sentinels = "10.0.0.1:26379"
sentinel_primary = "main"
quorum = 2`, []string{`f:13: pool.p.check.quorum: found 2 of 1 sentinels, expected at most as many as there are`}},
		{"a sentinel's user without password", `kind = "redis"
sentinels = "10.0.0.1:26379"
sentinel_primary = "main"
sentinel_user = "ebb"`, []string{`f:13: pool.p.check.sentinel_user: found without sentinel_password_file, expected both`}},
		{"all of send_expect", `kind = "send_expect"
protocol = "udp"
steps = [{ send = "a" }, { send_hex = "0d 0A" }, { expect = "b" }, { expect_hex = "00" }, { expect_regex = "^c" }]`, nil},
		{"all of dns", `kind = "dns"
protocol = "tcp"
query = "_sip._udp.example.com"
query_type = "SRV"`, nil},
		{"all of exec", `kind = "exec"
port = 9
command = ["/usr/bin/true", "-x"]`, nil},
		{"all of agent", `kind = "agent"
port = 9999
proxy = "v1"
tls = "require"`, nil},
		{"no steps", `kind = "send_expect"`, []string{`f:9: pool.p.check.steps: missing with kind "send_expect", expected ` + stepForms}},
		{"no command", `kind = "exec"`, []string{`f:9: pool.p.check.command: missing with kind "exec", expected ` + commandForm}},
		{"no port", `kind = "agent"`, []string{`f:9: pool.p.check.port: missing with kind "agent", expected that of the agent`}},
		{"a command without a path", `kind = "exec"
command = ["true"]`, []string{`f:11: pool.p.check.command: found "true", expected ` + commandForm}},
		{"steps that are none", `kind = "send_expect"
steps = [{}, { send = "a", expect = "b" }, { send_hex = "0" }, { sned = "x" }, { expect = "" }]`, []string{
			`f:11: pool.p.check.steps: found a step with 0 things to do, expected one of "send", "send_hex", "expect", "expect_hex" or "expect_regex"`,
			`f:11: pool.p.check.steps: found a step with 2 things to do, expected one of "send", "send_hex", "expect", "expect_hex" or "expect_regex"`,
			`f:11: pool.p.check.steps.send_hex: found "0", expected 1 to 4096 bytes as two hexadecimal digits each`,
			`f:11: pool.p.check.steps.sned: unknown key, did you mean "send"?`,
			`f:11: pool.p.check.steps.expect: found "", expected text of 1 to 4096 bytes`,
		}},
		{"datagrams with TLS", `kind = "send_expect"
protocol = "udp"
tls = "require"
steps = [{ send = "a" }]`, []string{`f:12: pool.p.check.tls: found with protocol = "udp", expected with TCP`}},
		{"no such name", `kind = "dns"
query = "a..b"`, []string{`f:11: pool.p.check.query: found "a..b", expected a DNS name, or "." for the root: it has an empty label, that is two dots in a row or one at the beginning`}},
		{"no kind", `path = "/x"`, []string{`f:9: pool.p.check.kind: missing, expected ` + choice(checkKindWords)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("f", whole+"[pool.p.check]\n"+test.keys+"\n", new(Flags))
			problems(t, err, test.want...)
		})
	}
}
