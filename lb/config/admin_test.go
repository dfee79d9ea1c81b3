package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// write makes a file that only its owner may read.
func write(t *testing.T, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAdminKeys(t *testing.T) {
	dir := t.TempDir()
	token := write(t, dir, "token", "0123456789abcdef\n")
	same := write(t, dir, "same", "0123456789abcdef")
	read := write(t, dir, "read", "read-0123456789abcdef\r\n")
	const socket = "expected with a socket at a path, such as \"unix:/run/ebb/admin.sock\""
	for _, test := range []struct{ text, problem string }{
		{`listen = "0.0.0.0:9321"` + "\ntoken_file = \"" + token + `"`, ""},
		{`listen = "unix:/run/ebb.sock"` + "\nmode = \"0660\"\ngroup = \"0\"", ""},
		{`listen = "unix:/run/ebb.sock"` + "\ngroup = \"no-such-group\"",
			`f:11: admin.group: found "no-such-group", expected the name or the number of a group, or "process" for that of ebb: there is no such group`},
		{`mode = "660"`, `f:10: admin.mode: found "660", expected four octal digits, such as "0660"`},
		{`mode = "0888"`, `f:10: admin.mode: found "0888", expected four octal digits, such as "0660"`},
		{`mode = "4755"`, `f:10: admin.mode: found "4755", expected four octal digits, such as "0660"`},
		{`mode = "0660"`, `f:10: admin.mode: found with listen = "127.0.0.1:9321", ` + socket},
		{"listen = \"off\"\ngroup = \"0\"", `f:11: admin.group: found with listen = "off", ` + socket},
		{"listen = \"off\"\nhosts = [\"lb\"]", `f:11: admin.hosts: found with listen = "off", expected with an address to listen on`},
		{"listen = \"off\"\ntoken_file = \"" + token + `"`, `f:11: admin.token_file: found with listen = "off", expected with an address to listen on`},
		{`hosts = ["LB1.example.com.", "b"]`, ""},
		{`hosts = ["a b"]`, `f:10: admin.hosts: found "a b", expected names such as "lb1.example.com": it has the character ' '; letters, digits, hyphens and underscores are possible`},
		{`read_token_file = "` + read + `"`, `f:10: admin.read_token_file: found without token_file, expected both: else everybody may do everything`},
		{`token_file = "` + token + "\"\nread_token_file = \"" + read + `"`, ""},
		{`token_file = "` + token + "\"\nread_token_file = \"" + same + `"`, `f:11: admin.read_token_file: found the token of token_file, expected another one`},
		{`token = "0123456789abcdef"`, `f:10: admin.token: found a secret in the config, expected token_file, the path of a file that only its owner may read`},
	} {
		c, err := Parse("f", whole+"[admin]\n"+test.text+"\n", new(Flags))
		if test.problem != "" {
			problems(t, err, test.problem)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if test.text[:5] == "hosts" && !slices.Equal(c.Admin.Hosts, []string{"lb1.example.com", "b"}) {
			t.Errorf("%v", c.Admin.Hosts)
		}
		if c.Admin.Mode == 0 || c.Admin.Group == 0 && c.Admin.Mode != 0o660 {
			t.Errorf("%s: %+v", test.text, c.Admin)
		}
		if c.Admin.TokenFile != "" && c.Admin.Token != "0123456789abcdef" || c.Admin.ReadTokenFile != "" && c.Admin.ReadToken != "read-0123456789abcdef" {
			t.Errorf("%s: the tokens are others", test.text)
		}
	}
}

// SE-9: a token that cannot be had is a problem, never an API without one; what is in the file is told to nobody.
func TestSE9TokensThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	open := write(t, dir, "open", "0123456789abcdef")
	if err := os.Chmod(open, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ file, problem string }{
		{dir + "/none", "there is no such file"},
		{dir, "this is no plain file"},
		{open, "its mode is 640, chmod 600 makes it so"},
		{write(t, dir, "empty", ""), "it must hold 16 to 1000 characters, on one line"},
		{write(t, dir, "short", "012345678secret"), "it must hold 16 to 1000 characters, on one line"},
		{write(t, dir, "long", strings.Repeat("secret", 200)), "it must hold 16 to 1000 characters, on one line"},
		{write(t, dir, "lines", "0123456789abcdef\nsecret"), "it must hold one line of visible ASCII characters, without spaces"},
		{write(t, dir, "binary", "0123456789abcdef\x00secret"), "it must hold one line of visible ASCII characters, without spaces"},
	} {
		for _, listen := range []string{"127.0.0.1:9321", "0.0.0.0:9321", "unix:/run/ebb.sock"} {
			_, err := Parse("f", whole+fmt.Sprintf("[admin]\nlisten = %q\ntoken_file = %q\n", listen, test.file), new(Flags))
			if err == nil || !strings.HasPrefix(err.Error(), "f:11: admin.token_file: found ") || !strings.HasSuffix(err.Error(), test.problem) {
				t.Errorf("%s: %v", test.file, err)
			} else if strings.Contains(strings.ReplaceAll(err.Error(), dir, ""), "secret") {
				t.Errorf("told: %v", err)
			}
		}
	}
	flags := flagsOf(t, "listen", "tcp://127.0.0.1:1", "to", "h:1", "admin", "0.0.0.0:9321")
	_, err := FromFlags(flags)
	problems(t, err, `--admin: found "0.0.0.0:9321" without token_file, expected both: other hosts may ask only with a token`)
	if err := flags.Set("admin-token-file", write(t, dir, "good", "0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	if c, err := FromFlags(flags); err != nil || c.Admin.Token != "0123456789abcdef" {
		t.Errorf("%v", err)
	}
}

// SE-10: a secret shows itself nowhere, and a new one at the same path is a change.
func TestSE10SecretsShowNothing(t *testing.T) {
	a := Admin{TokenFile: "/t", Token: "0123456789abcdef"}
	encoded, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(a), fmt.Sprintf("%+v %#v %s %q", a, a, a.Token, a.Token), string(encoded)} {
		if strings.Contains(shown, "0123456789") || !strings.Contains(shown, "***") {
			t.Errorf("%s", shown)
		}
	}
	b := a
	b.Token = "another-0123456789"
	if got := Changed(&a, &b); !reflect.DeepEqual(got, []string{"token_file"}) {
		t.Errorf("%v", got)
	}
}
