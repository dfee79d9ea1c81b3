package dnswatch

import (
	"net/netip"
	"os"
	"strings"
	"sync"
)

// file reads a small text file again when it changes.
type file struct {
	path string
	seen os.FileInfo // nil: not read yet
}

// changed returns the text if the file is another than last time: by size, time or, where a link was turned to another
// file, by identity. A file that is gone or cannot be read gives no text: what was known stays known.
func (f *file) changed() (text string, ok bool) {
	if f.path == "" {
		return "", false
	}
	now, err := os.Stat(f.path)
	if err != nil || !now.Mode().IsRegular() || now.Size() > 1<<20 {
		return "", false
	}
	if f.seen != nil && now.Size() == f.seen.Size() && now.ModTime().Equal(f.seen.ModTime()) && os.SameFile(now, f.seen) {
		return "", false
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		return "", false
	}
	f.seen = now
	return string(b), true
}

// hostsFile is /etc/hosts.
type hostsFile struct {
	mu    sync.Mutex
	file  file
	names map[string][]netip.Addr
}

func newHostsFile(path string) *hostsFile {
	h := &hostsFile{file: file{path: path}}
	h.reload()
	return h
}

// reload reads the file if it has changed, and says whether it has.
func (h *hostsFile) reload() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	text, ok := h.file.changed()
	if ok {
		h.names = parseHosts(text)
	}
	return ok
}

// find returns all addresses of a name, of all its lines.
func (h *hostsFile) find(name string) ([]netip.Addr, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	addrs, ok := h.names[name]
	return addrs, ok
}

func parseHosts(text string) map[string][]netip.Addr {
	names := make(map[string][]netip.Addr)
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = strings.TrimSuffix(canonical(name), ".")
			names[name] = append(names[name], addr.Unmap())
		}
	}
	return names
}
