//go:build linux

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are the documents of the repository.
func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README", "ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY"} {
		list = append(list, "../"+name+".md")
	}
	return list
}

var (
	fenced    = regexp.MustCompile("(?ms)^```.*?^```")
	linked    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headed    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	unanchors = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names under which a page's headings can be linked to, as GitHub makes them.
func anchors(text string) (list []string) {
	for _, m := range headed.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		list = append(list, strings.ReplaceAll(unanchors.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return list
}

// What a page links to in the repository is there, with the heading.
func TestLinksLeadSomewhere(t *testing.T) {
	found := 0
	for _, page := range pages(t) {
		text := repoFile(t, strings.TrimPrefix(page, "../"))
		for _, m := range linked.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			b, err := os.ReadFile(target)
			if info, serr := os.Stat(target); serr == nil && info.IsDir() {
				err = nil
			}
			switch {
			case err != nil:
				t.Errorf("%s links to %s: %v", page, m[1], err)
			case anchor != "" && !slices.Contains(anchors(string(b)), anchor):
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d links found", found)
	}
}

// Every page of docs is in its index.
func TestIndexHasEveryPage(t *testing.T) {
	index := repoFile(t, "docs/README.md")
	for _, page := range pages(t) {
		name := filepath.Base(page)
		if filepath.Base(filepath.Dir(page)) == "docs" && name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/README.md does not list %s", name)
		}
	}
}
