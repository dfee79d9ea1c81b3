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
	got := make(map[string]int)
	lines := scanLines(text)
	for path, line := range lines.at {
		got[strings.ReplaceAll(path[1:], "\x00", "/")] = line
	}
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

// unlocated lists what the library decoded and the scanner did not see.
func unlocated(text string) (paths []string) {
	tree, err := decodeTOML(text)
	if err != nil {
		return nil
	}
	at := scanLines(text).at
	var walk func(path string, raw any)
	walk = func(path string, raw any) {
		if path != "" && at[path] == 0 {
			paths = append(paths, fmt.Sprintf("%q", path))
		}
		switch raw := raw.(type) {
		case map[string]any:
			for key, e := range raw {
				walk(pathKey(path, key), e)
			}
		case []map[string]any:
			for i, e := range raw {
				walk(pathIndex(path, i), e)
			}
		case []any:
			for i, e := range raw {
				walk(pathIndex(path, i), e)
			}
		}
	}
	walk("", tree)
	return paths
}
