package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ebb-lb/ebb"

// importRule is one row of ARCHITECTURE.md's table. Paths of this module are written without it, "lb/config"; a path
// that ends in /... stands for all below it too.
type importRule struct {
	packages string   // whom it binds
	may      []string // outside of std, directly
	never    []string // not even through others
	directly []string // never directly; through others it cannot be helped
	why      string
}

var importRules = []importRule{
	{
		packages: "pool", never: []string{"net", "log", "log/slog"}, directly: []string{"os"},
		why: "the epoch table is values in, leases out: no sockets, no files, no log",
	},
	{
		packages: "dnswatch", may: []string{"github.com/miekg/dns", "golang.org/x/sync/...", "golang.org/x/net/..."},
		never: []string{"pool", "lb/...", "github.com/BurntSushi/toml"},
		why:   "it says what a name resolves to, not what to do about it",
	},
	{
		packages: "dnswatch/dnstest", may: []string{"github.com/miekg/dns"},
		never: []string{"dnswatch", "pool", "lb/..."},
		why:   "a server that shares code with the client under test would share its mistakes",
	},
	{
		packages: "lb/internal/preface", may: []string{"github.com/pires/go-proxyproto"},
		never: []string{"pool", "dnswatch", "lb", "lb/config", "lb/internal/sock"},
		why:   "a header is bytes and addresses",
	},
	{
		packages: "lb/internal/...", may: []string{"github.com/gaissmai/bart", "golang.org/x/sys/...", "golang.org/x/net/...", "lb/internal/..."},
		never: []string{"pool", "dnswatch", "lb/config"},
		why:   "the datapath has no opinions",
	},
	{
		packages: "lb/check", may: []string{"github.com/jackc/pgx/v5/pgproto3", "github.com/go-sql-driver/mysql", "golang.org/x/net/dns/dnsmessage", "golang.org/x/sys/unix", "lb/internal/sock"},
		never: []string{"pool", "dnswatch", "lb", "lb/config"},
		why:   "a probe knows an address and a protocol",
	},
	{
		packages: "lb/doctor", may: []string{"golang.org/x/sys/...", "lb/internal/relay"},
		never: []string{"lb", "pool", "dnswatch", "lb/config", "lb/admin"},
		why:   "it looks at a machine, not at a balancer",
	},
	{
		packages: "lb/logtarget",
		never:    []string{"lb", "pool", "dnswatch", "lb/config", "lb/admin", "lb/internal/..."},
		why:      "a target takes lines, whatever they say",
	},
	{
		packages: "lb/config", may: []string{"github.com/BurntSushi/toml"},
		never: []string{"lb", "pool", "dnswatch", "lb/admin", "lb/check", "lb/internal/..."},
		why:   "a file format is not a program",
	},
	{
		packages: "lb/admin", may: []string{"github.com/prometheus/client_golang/...", "github.com/prometheus/client_model/go", "lb/internal/sock"},
		never: []string{"lb", "pool", "dnswatch", "lb/config", "lb/check", "lb/internal/engine", "lb/internal/flow", "lb/internal/relay"},
		why:   "the API is told values; a client of it must not carry the balancer",
	},
	{
		packages: "lb", may: []string{
			"pool", "dnswatch", "lb/admin", "lb/check", "lb/config", "lb/doctor", "lb/internal/...", "github.com/prometheus/client_golang/prometheus",
		},
		never:    []string{"github.com/spf13/cobra", "dnswatch/dnstest"},
		directly: []string{"github.com/BurntSushi/toml", "github.com/miekg/dns"},
		why:      "the wiring joins packages; each of them keeps its library to itself",
	},
	{
		packages: "cmd/ebb/internal/migrate", may: []string{"lb/config"},
		never: []string{"lb", "pool", "dnswatch", "lb/admin", "lb/check", "lb/internal/..."},
		why:   "it turns text into text",
	},
	{
		packages: "cmd/ebb", may: []string{
			"cmd/ebb/internal/migrate", "lb", "lb/admin", "lb/config", "lb/doctor", "lb/logtarget", "github.com/spf13/cobra/...", "github.com/spf13/pflag", "golang.org/x/term",
			"golang.org/x/sys/unix", "github.com/coreos/go-systemd/v22/activation", "github.com/coreos/go-systemd/v22/daemon", "charm.land/bubbletea/v2", "dnswatch/dnstest",
		},
		directly: []string{"pool", "dnswatch"},
		why:      "there is no back door: what the program can do, lb offers",
	},
	{
		packages: "integration/...", may: []string{
			"dnswatch/dnstest", "integration/...", "golang.org/x/net/ipv4", "golang.org/x/sys/unix", "github.com/go-sql-driver/mysql", "github.com/redis/go-redis/v9",
			"github.com/jackc/pgx/v5/pgconn",
		},
		why: "it knows of ebb what a user knows",
	},
}

// listed is a package as go list describes it.
type listed struct {
	ImportPath string
	Standard   bool
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// local is a path as the rules write it.
func local(path string) string { return strings.TrimPrefix(path, module+"/") }

func matches(pattern, path string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == below || strings.HasPrefix(path, below+"/")
	}
	return path == pattern
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// violations gives what each package of this module imports against the rules.
func violations(packages map[string]listed) (found []string) {
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		p := packages[path]
		if !strings.HasPrefix(path, module+"/") {
			continue
		}
		from := local(path)
		i := slices.IndexFunc(importRules, func(r importRule) bool { return matches(r.packages, from) })
		if i < 0 {
			found = append(found, fmt.Sprintf("%s has no rule: say in ARCHITECTURE.md and here whom it may import", from))
			continue
		}
		r := importRules[i]
		for _, imported := range p.Imports {
			to := local(imported)
			if matchesAny(r.directly, to) || !packages[imported].Standard && !matchesAny(r.may, to) {
				found = append(found, fmt.Sprintf("%s imports %s: %s", from, to, r.why))
			}
		}
		for _, dep := range p.Deps {
			if to := local(dep); matchesAny(r.never, to) {
				found = append(found, fmt.Sprintf("%s depends on %s, through %s: %s", from, to, through(packages, p, dep), r.why))
			}
		}
	}
	return found
}

// through names the direct imports of p that lead to dep.
func through(packages map[string]listed, p listed, dep string) string {
	var via []string
	for _, imported := range p.Imports {
		if imported == dep || slices.Contains(packages[imported].Deps, dep) {
			via = append(via, local(imported))
		}
	}
	return strings.Join(via, ", ")
}

// list asks the go command for every package of this module and all that they depend on.
func list(t *testing.T, goos string) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Dir,GoFiles,Imports,Deps", "./...")
	cmd.Dir = ".."
	cmd.Env = append(cmd.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	packages := make(map[string]listed)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
}

// TestImports holds the packages to ARCHITECTURE.md's table of who may import whom.
func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		packages := list(t, goos)
		for _, r := range importRules {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(packages)), func(path string) bool { return matches(r.packages, local(path)) }) {
				t.Errorf("%s: no package is bound by the rule for %s", goos, r.packages)
			}
		}
		for _, v := range violations(packages) {
			t.Errorf("%s: %s", goos, v)
		}
		for _, file := range importers(t, packages[module+"/cmd/ebb"], module+"/dnswatch/dnstest") {
			if !strings.HasPrefix(file, "demo") {
				t.Errorf("%s: cmd/ebb/%s imports dnswatch/dnstest: only the demo plays a DNS server", goos, file)
			}
		}
	}
}

// importers gives the files of a package that import path.
func importers(t *testing.T, p listed, path string) (files []string) {
	t.Helper()
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			if spec.Path.Value == strconv.Quote(path) {
				files = append(files, name)
			}
		}
	}
	return files
}

// TestImportRulesBite breaks each row once: a rule that never fails guards nothing.
func TestImportRulesBite(t *testing.T) {
	for _, c := range []struct {
		from, to string
		via      string // an import of from that brings in to; "" imports it directly
		want     string // "" is no violation
	}{
		{from: "pool", to: "net/netip"},
		{from: "pool", to: "os", want: "pool imports os"},
		{from: "pool", to: "os", via: "fmt"},
		{from: "pool", to: "net", via: "net/url", want: "pool depends on net, through net/url"},
		{from: "pool", to: "log/slog", want: "pool depends on log/slog"},
		{from: "pool", to: "golang.org/x/sync/errgroup", want: "pool imports golang.org/x/sync/errgroup"},
		{from: "pool", to: "lb/config", want: "pool imports lb/config"},
		{from: "dnswatch", to: "github.com/miekg/dns"},
		{from: "dnswatch", to: "pool", want: "dnswatch imports pool"},
		{from: "dnswatch/dnstest", to: "dnswatch", want: "dnswatch/dnstest imports dnswatch"},
		{from: "lb/internal/relay", to: "lb/internal/sock"},
		{from: "lb/internal/relay", to: "lb/config", want: "lb/internal/relay imports lb/config"},
		{from: "lb/internal/relay", to: "pool", via: "lb/internal/flow", want: "lb/internal/relay depends on pool, through lb/internal/flow"},
		{from: "lb/check", to: "lb/config", want: "lb/check imports lb/config"},
		{from: "lb/config", to: "github.com/BurntSushi/toml"},
		{from: "lb/config", to: "pool", want: "lb/config imports pool"},
		{from: "lb/admin", to: "lb/config", want: "lb/admin imports lb/config"},
		{from: "lb", to: "github.com/BurntSushi/toml", via: "lb/config"},
		{from: "lb", to: "github.com/BurntSushi/toml", want: "lb imports github.com/BurntSushi/toml"},
		{from: "lb", to: "github.com/miekg/dns", want: "lb imports github.com/miekg/dns"},
		{from: "lb", to: "github.com/spf13/cobra", via: "lb/admin", want: "lb depends on github.com/spf13/cobra"},
		{from: "lb", to: "dnswatch/dnstest", want: "lb imports dnswatch/dnstest"},
		{from: "cmd/ebb/internal/migrate", to: "lb/config"},
		{from: "cmd/ebb/internal/migrate", to: "lb", want: "cmd/ebb/internal/migrate imports lb"},
		{from: "cmd/ebb", to: "pool", via: "lb"},
		{from: "cmd/ebb", to: "pool", want: "cmd/ebb imports pool"},
		{from: "cmd/ebb", to: "dnswatch", want: "cmd/ebb imports dnswatch"},
		{from: "cmd/ebb", to: "github.com/miekg/dns", want: "cmd/ebb imports github.com/miekg/dns"},
		{from: "integration/bench", to: "lb", want: "integration/bench imports lb"},
		{from: "util", to: "fmt", want: "util has no rule"},
	} {
		packages := graph(c.from, c.to, c.via)
		got := strings.Join(violations(packages), "\n")
		if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s (via %q): got %q, want %q", c.from, c.to, c.via, got, c.want)
		}
	}
}

// graph makes the packages of one case. Those of std are the ones that the cases name.
func graph(from, to, via string) map[string]listed {
	std := []string{"fmt", "log/slog", "net", "net/netip", "net/url", "os"}
	full := func(path string) string {
		if path == "util" || slices.ContainsFunc(importRules, func(r importRule) bool { return matches(r.packages, path) }) {
			return module + "/" + path
		}
		return path
	}
	add := func(packages map[string]listed, path string, imports, deps []string) {
		packages[full(path)] = listed{ImportPath: full(path), Standard: slices.Contains(std, path), Imports: imports, Deps: deps}
	}
	packages := make(map[string]listed)
	add(packages, to, nil, nil)
	if via == "" {
		add(packages, from, []string{full(to)}, []string{full(to)})
		return packages
	}
	add(packages, via, nil, []string{full(to)})
	add(packages, from, []string{full(via)}, []string{full(via), full(to)})
	return packages
}
