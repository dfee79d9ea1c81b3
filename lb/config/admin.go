package config

import (
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Admin is where the HTTP API listens, and who may ask.
type Admin struct {
	Listen        string      // "ADDRESS:PORT", "unix:" and an absolute path, "systemd:" and the name of a socket, or "off"
	Mode          fs.FileMode // of the socket at a path
	Group         int         // id of its group; -1 is that of the process
	Hosts         []string    // names by which it may be asked, besides localhost
	TokenFile     string      // "" is none: then it listens on this host only
	Token         Secret      `key:"token_file"` // what that file holds
	ReadTokenFile string      // "" is none
	ReadToken     Secret      `key:"read_token_file"`
}

// Secret is text that shows itself nowhere: formatted, logged or encoded it is three stars.
type Secret string

func (Secret) String() string               { return "***" }
func (Secret) GoString() string             { return "***" }
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

var adminKeys = []key[Admin]{
	{name: "listen", read: func(a *Admin, v value) { v.adminAddress(&a.Listen) }},
	{name: "mode", read: func(a *Admin, v value) { v.mode(&a.Mode) }},
	{name: "group", read: func(a *Admin, v value) { v.group(&a.Group) }},
	{name: "hosts", read: func(a *Admin, v value) { v.hostNames(&a.Hosts) }},
	{name: "token_file", read: func(a *Admin, v value) { v.token(&a.TokenFile, &a.Token) }},
	{name: "read_token_file", read: func(a *Admin, v value) { v.token(&a.ReadTokenFile, &a.ReadToken) }},
	{name: "token", why: "found a secret in the config, expected token_file, the path of a file that only its owner may read"},
}

// readAdmin reads [admin] and judges its keys together. Whatever is wrong with a token, the API does not go without.
func readAdmin(c *Config, v value) {
	a := &c.Admin
	if !readTable(v, adminKeys, a) || !v.sound("listen", "mode", "group", "hosts", "token_file", "read_token_file") {
		return
	}
	unset := &unset.Admin
	addr, err := netip.ParseAddrPort(a.Listen)
	switch {
	case err == nil && !addr.Addr().IsLoopback() && a.TokenFile == "":
		v.written("listen").fail("found %q without token_file, expected both: other hosts may ask only with a token", a.Listen)
	case !strings.HasPrefix(a.Listen, "unix:") && (a.Mode != unset.Mode || a.Group != unset.Group):
		v.written("mode", "group").fail("found with listen = %q, expected with a socket at a path, such as \"unix:/run/ebb/admin.sock\"", a.Listen)
	case a.Listen == "off" && (a.TokenFile != "" || len(a.Hosts) > 0):
		v.written("token_file", "hosts").fail("found with listen = \"off\", expected with an address to listen on")
	case a.ReadTokenFile != "" && a.TokenFile == "":
		v.written("read_token_file").fail("found without token_file, expected both: else everybody may do everything")
	case a.ReadToken != "" && a.ReadToken == a.Token:
		v.written("read_token_file").fail("found the token of token_file, expected another one")
	}
}

// maxSocketPath is what every system's sockaddr_un has room for.
const maxSocketPath = 103

// socketPathProblem says why a path cannot be that of a socket; "" if it can.
func socketPathProblem(path string) string {
	switch {
	case !filepath.IsAbs(path) || strings.ContainsRune(path, 0) || filepath.Clean(path) != path:
		return "the path must be absolute, and as short as it can be said"
	case len(path) > maxSocketPath:
		return fmt.Sprintf("the path may have %d bytes", maxSocketPath)
	}
	return ""
}

// adminAddress reads where the admin API listens.
func (v value) adminAddress(dst *string) {
	const expected = "ADDRESS:PORT, such as \"127.0.0.1:9321\", \"unix:\" and an absolute path, or \"off\""
	s, ok := v.text(expected)
	if !ok {
		return
	}
	if s == "off" {
		*dst = s
		return
	}
	if name, ok := strings.CutPrefix(s, PassedPrefix); ok {
		if !passedName(name) {
			v.unexpected(passedForm)
			return
		}
		*dst, v.src.adminWritten = s, true
		v.src.listens = append(v.src.listens, bound{value: v, Endpoint: Endpoint{Network: "tcp", Passed: name}})
		return
	}
	if path, ok := strings.CutPrefix(s, UnixPrefix); ok {
		if why := socketPathProblem(path); why != "" {
			v.unexpected("%s: %s", expected, why)
			return
		}
		*dst = s
		v.src.listens = append(v.src.listens, bound{value: v, Endpoint: Endpoint{Network: "unix", Path: path}})
		return
	}
	addr, why := listenAddress(s)
	switch {
	case strings.Contains(s, "://"):
		v.unexpected("%s: without a scheme", expected)
	case why != "":
		v.unexpected("%s: %s", expected, why)
	default:
		*dst = addr.String()
		v.src.adminWritten = true
		v.src.listens = append(v.src.listens, bound{value: v, Endpoint: Endpoint{Network: "tcp", Addr: addr}})
	}
}

var modeForm = regexp.MustCompile(`^0[0-7]{3}$`)

// mode reads the permissions of a file.
func (v value) mode(dst *fs.FileMode) {
	const expected = "four octal digits, such as \"0660\""
	s, ok := v.text(expected)
	if !ok {
		return
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || !modeForm.MatchString(s) {
		v.unexpected(expected)
		return
	}
	*dst = fs.FileMode(n)
}

// group reads a group of this host, by name or number; "process" stands for -1.
func (v value) group(dst *int) {
	const expected = "the name or the number of a group, or \"process\" for that of ebb"
	s, ok := v.text(expected)
	if !ok {
		return
	}
	if s == "process" {
		*dst = -1
		return
	}
	id := s
	if g, err := user.LookupGroup(s); err == nil {
		id = g.Gid
	}
	n, err := strconv.ParseUint(id, 10, 31)
	if err != nil {
		v.unexpected("%s: there is no such group", expected)
		return
	}
	*dst = int(n)
}

// hostNames reads names by which this host is called.
func (v value) hostNames(dst *[]string) {
	const expected = "names such as \"lb1.example.com\""
	if l, ok := v.raw.([]value); ok && len(l) == 0 {
		*dst = nil
		return
	}
	var out []string
	for _, e := range v.texts(expected) {
		if why := nameProblem(e.raw.(string)); why != "" {
			e.unexpected("%s: %s", expected, why)
			continue
		}
		out = append(out, strings.ToLower(strings.TrimSuffix(e.raw.(string), ".")))
	}
	*dst = out
}

// The length of a token: too long to be guessed, short enough for a header.
const (
	minToken = 16
	maxToken = 1000
)

// token reads the path of a file that only its owner may read, and the token in it.
func (v value) token(file *string, token *Secret) {
	var path string
	if v.secretFile(&path); path == "" {
		return
	}
	text, err := ReadToken(path)
	if err != nil {
		v.unexpected("a file with a token: %v", err)
		return
	}
	*file, *token = path, text
}

// ReadToken reads a token from its file: 16 to 1000 visible ASCII characters on one line. An error says nothing of what it holds.
func ReadToken(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", reason(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken+3)) // and the end of its line
	if err != nil {
		return "", reason(err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(s) < minToken || len(s) > maxToken:
		return "", fmt.Errorf("it must hold %d to %d characters, on one line", minToken, maxToken)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("it must hold one line of visible ASCII characters, without spaces")
	}
	return Secret(s), nil
}
