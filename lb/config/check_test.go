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
			`f:11: pool.p.check.tls: found with kind "tcp", which has no use for it, expected with kind "tls" or "http"`,
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
		{"no kind", `path = "/x"`, []string{`f:9: pool.p.check.kind: missing, expected ` + choice(checkKindWords)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse("f", whole+"[pool.p.check]\n"+test.keys+"\n", new(Flags))
			problems(t, err, test.want...)
		})
	}
}
