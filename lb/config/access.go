package config

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const accessForms = "a prefix such as \"10.0.0.0/8\", an address, or the absolute path of a file with one of these on each line"

const (
	maxListFile     = 64 << 20 // bytes
	maxListLine     = 4 << 10
	maxListProblems = 20 // that are reported of one list file
)

// readAccess reads a list of prefixes, some of them from list files. They are sorted, and each is there once.
func readAccess(v value) (list []netip.Prefix) {
	for _, e := range v.texts(accessForms) {
		list = append(list, e.prefixes()...)
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

// prefixes gives what one entry of a list stands for.
func (v value) prefixes() []netip.Prefix {
	s := v.raw.(string)
	if filepath.IsAbs(s) {
		return v.listFile(s)
	}
	p, why := accessPrefix(s)
	if why != "" {
		v.unexpected("%s: %s", accessForms, why)
		return nil
	}
	return []netip.Prefix{p}
}

// listFile reads a list file: a prefix or an address on each line, and what follows a # is a comment.
func (v value) listFile(file string) (found []netip.Prefix) {
	if strings.ContainsRune(file, 0) {
		v.unexpected("%s", accessForms)
		return nil
	}
	switch info, err := os.Stat(file); { // before it is opened: that of a pipe would wait
	case err != nil:
		v.unexpected("a list file: %v", reason(err))
		return nil
	case !info.Mode().IsRegular():
		v.unexpected("a list file: this is no plain file")
		return nil
	case info.Size() > maxListFile:
		v.unexpected("a list file of at most %d MiB", maxListFile>>20)
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		v.unexpected("a list file: %v", reason(err))
		return nil
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxListLine)
	problems := 0
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		at := value{at: place{line: n, given: &given{file: file}}, in: v.in, key: v.key, raw: text, src: v.src}
		p, why := accessPrefix(text)
		if why == "" {
			found = append(found, p)
			continue
		}
		at.unexpected("a prefix such as 10.0.0.0/8, or an address: %s", why)
		if problems++; problems == maxListProblems {
			return nil
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		v.unexpected("a list file with lines of at most %d KiB", maxListLine>>10)
	} else if err != nil {
		v.unexpected("a list file: %v", reason(err))
	} else if len(found) == 0 && problems == 0 && (v.key == "allow" || v.key == "proxy_in") {
		v.unexpected("a list file with at least one prefix: nobody could come in")
	}
	return found
}

// accessPrefix reads a prefix, or an address as a prefix of its own, and says what is wrong otherwise.
func accessPrefix(s string) (p netip.Prefix, why string) {
	var err error
	if strings.Contains(s, "/") {
		p, err = netip.ParsePrefix(s)
	} else {
		var a netip.Addr
		a, err = netip.ParseAddr(s)
		p = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case strings.Contains(s, "%"):
		return p, "a zone says nothing here"
	case err != nil:
		return p, "this is neither"
	case p.Addr().Is4In6():
		return p, fmt.Sprintf("an address of IPv4 is written as such, %s", p.Addr().Unmap())
	case p != p.Masked():
		return p, fmt.Sprintf("it has bits beyond its length, the prefix is %s", p.Masked())
	}
	return p, ""
}

// checkAccess refuses a prefix that is both allowed and denied: none of the two is longer.
func checkAccess(v value, l *Listener) {
	both := slices.DeleteFunc(slices.Clone(l.Deny), func(p netip.Prefix) bool {
		_, found := slices.BinarySearchFunc(l.Allow, p, netip.Prefix.Compare)
		return !found
	})
	if len(both) == 0 {
		return
	}
	more := ""
	if n := len(both) - 1; n > 0 {
		more = fmt.Sprintf(" and %d others", n)
	}
	v.written("deny").fail("found %s%s in allow, too, expected each prefix in one of them", both[0], more)
}
