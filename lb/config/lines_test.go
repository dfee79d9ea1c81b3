package config

import (
	"fmt"
	"maps"
	"slices"
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
	steps := lines.steps()
	for to, n := range lines.at {
		got[written(steps, to)] = int(n.line)
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

// written is the path of what a step leads to, with the indices of lists.
func written(steps map[int32]step, to step) string {
	path := to.key
	if to.index > 0 {
		path = fmt.Sprintf("#%d", to.index-1)
	}
	if to.from == 0 {
		return path
	}
	return written(steps, steps[to.from]) + "/" + path
}

// unlocated lists what the library decoded and the scanner did not see.
func unlocated(text string) (paths []string) {
	tree, err := decodeTOML(text)
	if err != nil {
		return nil
	}
	at := scanLines(text).at
	var inside func(path string, id int32, raw any)
	walk := func(path string, to step, raw any) {
		path = fmt.Sprintf("%s/%q#%d", path, to.key, to.index)
		n, known := at[to]
		if !known || n.line < 1 {
			paths = append(paths, path)
			return
		}
		inside(path, n.id, raw)
	}
	inside = func(path string, id int32, raw any) {
		switch raw := raw.(type) {
		case map[string]any:
			for key, e := range raw {
				walk(path, keyStep(id, key), e)
			}
		case []map[string]any:
			for i, e := range raw {
				walk(path, elementStep(id, i), e)
			}
		case []any:
			for i, e := range raw {
				walk(path, elementStep(id, i), e)
			}
		}
	}
	inside("", 0, tree)
	return paths
}
