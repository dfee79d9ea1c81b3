package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	text := `# a comment
top = "a # b" # c
"quoted key" = 'x = 1'
'lit.eral'.sub = 1
esc."a\"b\u0041" = 1
multi = """
[no]
no = 1 \"""
""""
after = '''
'''''
list = [
	"a", # ]
	["b",
	"c"],
	{ x = 1,
	  y.z = 2 },
]
date = 1979-05-27 07:32:00 # one with a blank
inline = { a = { b = [ 1,
2 ] }, c = '}' }
[ table . "sub" ]
k = 1
[[array]]
k = 1
[[array.inner]]
k = 1
[[array.inner]]
k = 2
[array.more]
k = 1
[[array]]
k = 2
[[array.inner]]
k = 3
`
	want := map[string]int{
		"top": 2, "quoted key": 3, "lit.eral": 4, "lit.eral/sub": 4, "esc": 5, `esc/a"bA`: 5, "multi": 6, "after": 10,
		"list": 12, "list/#0": 13, "list/#1": 14, "list/#1/#0": 14, "list/#1/#1": 15, "list/#2": 16, "list/#2/x": 16,
		"list/#2/y": 17, "list/#2/y/z": 17, "date": 19, "inline": 20, "inline/a": 20, "inline/a/b": 20, "inline/a/b/#0": 20,
		"inline/a/b/#1": 21, "inline/c": 21, "table": 22, "table/sub": 22, "table/sub/k": 23, "array": 24, "array/#0": 24,
		"array/#0/k": 25, "array/#0/inner": 26, "array/#0/inner/#0": 26, "array/#0/inner/#0/k": 27, "array/#0/inner/#1": 28,
		"array/#0/inner/#1/k": 29, "array/#0/more": 30, "array/#0/more/k": 31, "array/#1": 32, "array/#1/k": 33,
		"array/#1/inner": 34, "array/#1/inner/#0": 34, "array/#1/inner/#0/k": 35,
	}
	if _, err := decodeTOML(text); err != nil {
		t.Fatal(err)
	}
	lines := scanLines(text)
	got := make(map[string]int)
	var walk func(path string, id int32)
	walk = func(path string, id int32) {
		i := 0
		for id = lines.nodes[id].first; id != none; id = lines.nodes[id].next {
			n := &lines.nodes[id]
			p := path + "/" + n.key
			if n.element {
				p = fmt.Sprintf("%s/#%d", path, i)
				i++
			}
			got[p[1:]] = int(n.line)
			walk(p, id)
		}
	}
	walk("", top)
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got[path] != want[path] {
			t.Errorf("%s: line %d, want %d", path, got[path], want[path])
		}
	}
	for path := range got {
		if want[path] == 0 {
			t.Errorf("%s: line %d, want none", path, got[path])
		}
	}
	if len(lines.again) != 0 {
		t.Errorf("found again: %v", lines.again)
	}
}

// A key is known again in a table of few keys and in one of many.
func TestLinesKnowAKeyAgain(t *testing.T) {
	for keys := range 3 * fewKeys {
		var text strings.Builder
		text.WriteString("[a.b]\n[a]\n")
		for i := range keys {
			fmt.Fprintf(&text, "k%d = 1\n", i)
		}
		text.WriteString("b = 1\n")
		lines := scanLines(text.String())
		if len(lines.again) != 1 || lines.again[0].line != keys+3 || lines.paths()[lines.again[0].id] != "a.b" || lines.nodes[lines.again[0].id].line != 1 {
			t.Errorf("after %d keys: %+v", keys, lines.again)
		}
	}
}

// unlocated lists what the library decoded and the scanner did not see.
func unlocated(text string) (paths []string) {
	tree, err := decodeTOML(text)
	if err != nil {
		return nil
	}
	lines := scanLines(text)
	var walk func(path string, id int32, raw any)
	list := func(path string, id int32, length int, element func(i int) any) {
		id = lines.elementFrom(lines.nodes[id].first)
		for i := range length {
			walk(fmt.Sprintf("%s/#%d", path, i), id, element(i))
			id = lines.elementFrom(lines.nodes[id].next)
		}
	}
	walk = func(path string, id int32, raw any) {
		if id == none || id != top && lines.nodes[id].line < 1 {
			paths = append(paths, path)
			return
		}
		switch raw := raw.(type) {
		case map[string]any:
			for key, e := range raw {
				at, _ := lines.look(id, key)
				walk(fmt.Sprintf("%s/%q", path, key), at, e)
			}
		case []map[string]any:
			list(path, id, len(raw), func(i int) any { return raw[i] })
		case []any:
			list(path, id, len(raw), func(i int) any { return raw[i] })
		}
	}
	walk("", top, tree)
	return paths
}
