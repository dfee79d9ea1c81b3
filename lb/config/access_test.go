package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listenerKeysOf makes a config with keys of its listener, which begin on line 5.
func listenerKeysOf(keys string) string {
	return "[[listener]]\nname = \"a\"\nlisten = \"tcp://127.0.0.1:5432\"\npool = \"p\"\n" + keys +
		"[[pool.p.backend]]\nhost = \"db.example.com\"\nport = 5432\n"
}

func writeList(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "some.list")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAccessLists(t *testing.T) {
	file := writeList(t, "# the office\n\n10.1.0.0/16\r\n  192.0.2.7  # a printer\n2001:db8::/32\n10.1.0.0/16")
	c, err := Parse("f", listenerKeysOf(fmt.Sprintf("allow = [\"10.0.0.0/8\", %q, \"10.0.0.0/8\"]\ndeny = \"10.2.0.0/16\"\n", file)), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := c.Listeners[0]
	if got := fmt.Sprint(l.Allow, l.Deny); got != "[10.0.0.0/8 10.1.0.0/16 192.0.2.7/32 2001:db8::/32] [10.2.0.0/16]" {
		t.Error(got)
	}
}

func TestAccessProblems(t *testing.T) {
	const forms = `expected a prefix such as "10.0.0.0/8", an address, or the absolute path of a file with one of these on each line`
	dir := t.TempDir()
	bad := writeList(t, "10.0.0.0/8\n\n10.1.2.3/8\nexample.com # no names\n")
	junk := writeList(t, strings.Repeat("x\n", 1000))
	long := writeList(t, strings.Repeat("1", 100_000)+"\n")
	empty := writeList(t, "# nobody yet\n")
	for _, test := range []struct {
		name, keys string
		want       []string
	}{
		{"none", "allow = []\ndeny = []\n", nil},
		{"a deny list without a prefix", fmt.Sprintf("deny = %q\n", empty), nil},
		{"an allow list without a prefix", fmt.Sprintf("allow = %q\n", empty), []string{
			fmt.Sprintf(`f:5: listener.allow: found %s, expected a list file with at least one prefix: nobody could come in`, value{raw: empty}.found()),
		}},
		{"a number", "allow = 10\n", []string{`f:5: listener.allow: found 10, ` + forms + `, or a list of them`}},
		{"a name", "allow = [\"example.com\"]\n", []string{`f:5: listener.allow: found "example.com", ` + forms + `: this is neither`}},
		{"a relative path", "allow = \"lists/office\"\n", []string{`f:5: listener.allow: found "lists/office", ` + forms + `: this is neither`}},
		{"too long", "deny = [\"10.0.0.0/33\"]\n", []string{`f:5: listener.deny: found "10.0.0.0/33", ` + forms + `: this is neither`}},
		{"a zone", "deny = [\"fe80::1%eth0\"]\n", []string{`f:5: listener.deny: found "fe80::1%eth0", ` + forms + `: a zone says nothing here`}},
		{"mapped", "deny = [\"::ffff:10.0.0.0/104\"]\n", []string{
			`f:5: listener.deny: found "::ffff:10.0.0.0/104", ` + forms + `: an address of IPv4 is written as such, 10.0.0.0`,
		}},
		{"bits beyond", "deny = [\n\"10.0.0.0/8\",\n\"10.0.0.1/8\"]\n", []string{
			`f:7: listener.deny: found "10.0.0.1/8", ` + forms + `: it has bits beyond its length, the prefix is 10.0.0.0/8`,
		}},
		{"both", "allow = [\"10.0.0.0/8\", \"10.1.0.0/16\"]\ndeny = [\"10.1.0.0/16\", \"10.0.0.0/8\"]\n", []string{
			`f:6: listener.deny: found 10.0.0.0/8 and 1 others in allow, too, expected each prefix in one of them`,
		}},
		{"prefixes of nothing", "source_prefix_ipv4 = 32\nsource_prefix_ipv6 = 56\n", []string{
			`f:5: listener.source_prefix_ipv4: found without source_max_conns and source_rate, expected beside one of them`,
		}},
		{"prefixes of something", "source_prefix_ipv6 = 56\nsource_rate = 5\n", nil},
		{"a rate of nothing", "source_rate = 0\n", []string{
			`f:5: listener.source_rate: found 0, expected a whole number from 1 to 1000000, or "off"`,
		}},
		{"no such file", fmt.Sprintf("allow = %q\n", dir+"/none"), []string{
			fmt.Sprintf(`f:5: listener.allow: found %s, expected a list file: stat: no such file or directory`, value{raw: dir + "/none"}.found()),
		}},
		{"a directory", fmt.Sprintf("allow = %q\n", dir), []string{
			fmt.Sprintf(`f:5: listener.allow: found %s, expected a list file: this is no plain file`, value{raw: dir}.found()),
		}},
		{"bad lines", fmt.Sprintf("allow = %q\nmax_conns = 0\n", bad), []string{
			bad + `:3: listener.allow: found "10.1.2.3/8", expected a prefix such as 10.0.0.0/8, or an address: it has bits beyond its length, the prefix is 10.0.0.0/8`,
			bad + `:4: listener.allow: found "example.com", expected a prefix such as 10.0.0.0/8, or an address: this is neither`,
			`f:6: listener.max_conns: found 0, expected a whole number from 1 to 10000000, or "off"`,
		}},
		{"a line without end", fmt.Sprintf("deny = %q\n", long), []string{
			fmt.Sprintf(`f:5: listener.deny: found %s, expected a list file with lines of at most 4 KiB`, value{raw: long}.found()),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("f", listenerKeysOf(test.keys), nil)
			problems(t, err, test.want...)
		})
	}
	_, err := Parse("f", listenerKeysOf(fmt.Sprintf("allow = %q\n", junk)), nil)
	if n := strings.Count(fmt.Sprint(err), "\n") + 1; n != maxListProblems {
		t.Errorf("%d problems of junk", n)
	}
}

// A list of 100,000 prefixes is read, and found unchanged, in no time that a reload would show.
func BenchmarkAccessList(b *testing.B) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "%s\n", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
	}
	file := filepath.Join(b.TempDir(), "some.list")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	conf := listenerKeysOf(fmt.Sprintf("deny = %q\n", file))
	for b.Loop() {
		c, err := Parse("f", conf, nil)
		if err != nil || len(c.Listeners[0].Deny) != 100_000 {
			b.Fatal(err)
		}
		again := c.Listeners[0]
		again.Deny = slices.Clone(again.Deny)
		if keys := Changed(&c.Listeners[0], &again); len(keys) > 0 {
			b.Fatal(keys)
		}
	}
}
