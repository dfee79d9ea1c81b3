package dnswatch

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// resolvConf is /etc/resolv.conf, as resolv.conf(5) describes it. A nil *resolvConf has no search list.
type resolvConf struct {
	mu      sync.Mutex
	file    file
	current resolvSettings
}

// resolvSettings is what one version of the file says.
type resolvSettings struct {
	servers  []server
	search   []string
	ndots    int
	timeout  time.Duration // 0: not said
	attempts int           // 0: not said
	rotate   bool
	noAAAA   bool
}

func newResolvConf(path string) *resolvConf {
	c := &resolvConf{file: file{path: path}, current: resolvSettings{ndots: 1}}
	c.reload()
	return c
}

// reload reads the file if it has changed, and says whether it has. A version without a server is passed over while an
// older one has servers: it is being written.
func (c *resolvConf) reload() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, ok := c.file.changed()
	if !ok {
		return false
	}
	next := parseResolvConf(text)
	if next.search == nil { // as resolv.conf(5) says; an empty list is not nil
		name, _ := os.Hostname()
		if _, domain, found := strings.Cut(canonical(name), "."); found && CheckName(domain) == nil {
			next.search = []string{strings.TrimSuffix(domain, ".")}
		}
	}
	if len(next.servers) == 0 && len(c.current.servers) > 0 {
		return false
	}
	c.current = next
	return true
}

func (c *resolvConf) settings() resolvSettings {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// patience gives the file's timeout and attempts where it has any.
func (c *resolvConf) patience(timeout time.Duration, attempts int) (time.Duration, int) {
	s := c.settings()
	if s.timeout > 0 {
		timeout = s.timeout
	}
	if s.attempts > 0 {
		attempts = s.attempts
	}
	return timeout, attempts
}

// candidates lists the absolute names to ask for, in order: with at least ndots dots the name itself comes first, else
// the search list does. A name with a dot at its end is absolute.
func (c *resolvConf) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	if c == nil {
		return []string{name + "."}
	}
	s := c.settings()
	var list []string
	for _, domain := range s.search {
		if full := name + "." + domain + "."; CheckName(full) == nil && !isLocalhost(full) {
			list = append(list, full)
		}
	}
	if strings.Count(name, ".") >= s.ndots {
		return append([]string{name + "."}, list...)
	}
	return append(list, name+".")
}

func parseResolvConf(text string) resolvSettings {
	s := resolvSettings{ndots: 1}
	useTCP := false
	for line := range strings.Lines(text) {
		if line[0] == '#' || line[0] == ';' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(fields[1]); err == nil && len(s.servers) < 3 {
				s.servers = append(s.servers, server{addr: netip.AddrPortFrom(a, 53)})
			}
		case "domain", "search": // the last one counts
			s.search = []string{}
			for _, d := range fields[1:] {
				if d = strings.Trim(canonical(d), "."); d != "" {
					s.search = append(s.search, d)
				}
			}
		case "options":
			for _, o := range fields[1:] {
				word, value, _ := strings.Cut(o, ":")
				n, err := strconv.Atoi(value)
				switch {
				case word == "rotate":
					s.rotate = true
				case word == "use-vc":
					useTCP = true
				case word == "no-aaaa":
					s.noAAAA = true
				case err != nil || n < 0:
				case word == "ndots":
					s.ndots = min(n, 15)
				case word == "timeout" && n > 0:
					s.timeout = time.Duration(min(n, 30)) * time.Second
				case word == "attempts" && n > 0:
					s.attempts = min(n, 5)
				}
			}
		}
	}
	for i := range s.servers {
		if useTCP {
			s.servers[i] = s.servers[i].overTCP()
		}
	}
	return s
}
