package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the tables of docs/configuration.md anew")

const referenceFile = "../../docs/configuration.md"

// section is a table of a config, as docs/configuration.md shows it.
type section struct {
	heading, path string
	keys          []keyed
}

// keyed is what the code knows of a key.
type keyed struct {
	name     string
	takes    string // what is expected there
	required bool
}

// isTable tells that the key has a section of its own.
func (k keyed) isTable() bool {
	return k.takes == "a table" || strings.HasPrefix(k.takes, "a table, such as ") || strings.HasSuffix(k.takes, "]] tables")
}

// sections are all tables, in the order of a file.
func sections() []section {
	return []section{
		{"Top of the file", "", ask(topKeys)},
		{"[admin]", "admin.", ask(adminKeys)},
		{"[log]", "log.", ask(logKeys)},
		{"[relay]", "relay.", ask(relayKeys)},
		{"[resolver.NAME]", "resolver.NAME.", ask(resolverKeys)},
		{"[[listener]]", "listener.", ask(listenerKeys)},
		{"[listener.socket]", "listener.socket.", ask(clientSocketKeys)},
		{"[pool.NAME]", "pool.NAME.", ask(poolKeys)},
		{"[pool.NAME.socket]", "pool.NAME.socket.", ask(peerSocketKeys)},
		{"[pool.NAME.on]", "pool.NAME.on.", ask(onKeys)},
		{"[[pool.NAME.backend]]", "pool.NAME.backend.", ask(backendKeys)},
		{"[pool.NAME.check]", "pool.NAME.check.", ask(checkKeys)},
	}
}

// ask has each key that is accepted say what it expects, by giving it what it does not.
func ask[T any](keys []key[T]) (list []keyed) {
	for _, k := range keys {
		if k.read == nil {
			continue
		}
		expected := func(raw any) string {
			v := value{key: k.name, raw: raw, src: new(source)}
			k.read(new(T), v)
			if len(v.src.problems) == 0 {
				return ""
			}
			_, text, _ := strings.Cut(v.src.problems[0].Text, "expected ")
			return text
		}
		takes := expected(time.Time{})
		if strings.HasPrefix(takes, "a duration with its unit") {
			takes = expected("-1h")
			if whole := expected("1500ms"); whole != "" && whole != takes {
				takes = whole
			}
		}
		list = append(list, keyed{k.name, takes, k.need != ""})
	}
	return list
}

// The reference has every key, with what may stand there and its default as the code has them; and every flag. What a key
// means, and what a reload does with it, is written by hand and stays when the tables are made anew:
//
//	go test ./lb/config -run TestReference -update
func TestReferenceHasEveryKey(t *testing.T) {
	text, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	tree, perr := decodeTOML(string(example))
	if perr != nil {
		t.Fatal(perr)
	}
	shown := shownIn(tree)
	want := string(text)
	for _, s := range sections() {
		rows := [][]string{{"key", "what may stand there", "default", "reload", "what it says"}}
		for _, k := range s.keys {
			if k.isTable() {
				continue
			}
			usual := "`" + literal(shown[s.path+k.name]) + "`"
			if k.required || s.path+k.name == "pool.NAME.backend.port" {
				usual = "required"
			}
			rows = append(rows, []string{"`" + k.name + "`", k.takes, usual})
		}
		want = retable(t, want, s.heading, rows)
	}
	rows := [][]string{{"flag", "key", "what it says"}}
	for _, d := range flagDefs {
		usage := d.Usage
		if d.Repeat {
			usage += "; may repeat"
		}
		rows = append(rows, []string{"`--" + d.Name + " " + d.Value + "`", "`" + d.table + "." + d.key + "`", usage})
	}
	want = retable(t, want, "Flags", rows)
	if *update {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, expected := strings.Split(string(text), "\n"), strings.Split(want, "\n")
	for i := range max(len(got), len(expected)) {
		switch {
		case i >= len(got) || i >= len(expected) || got[i] != expected[i]:
			t.Fatalf("docs/configuration.md:%d is not what the code knows; write it anew with -update", i+1)
		case strings.HasSuffix(got[i], "|  |"):
			t.Errorf("docs/configuration.md:%d says nothing of its key: %s", i+1, got[i])
		}
	}
}

// retable puts rows into the first table below a heading, and keeps what that has in further columns.
func retable(t *testing.T, text, heading string, rows [][]string) string {
	t.Helper()
	before, after, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/configuration.md has no heading %q", heading)
	}
	begin := strings.Index(after, "\n| ")
	if begin < 0 {
		t.Fatalf("docs/configuration.md has no table below %q", heading)
	}
	old, rest, _ := strings.Cut(after[begin+1:], "\n\n")
	kept := make(map[string][]string)
	for line := range strings.Lines(old) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		kept[strings.TrimSpace(cells[0])] = cells
	}
	var b strings.Builder
	for i, cells := range rows {
		for len(cells) < len(rows[0]) {
			cell := ""
			if was := kept[cells[0]]; len(was) > len(cells) {
				cell = strings.TrimSpace(was[len(cells)])
			}
			cells = append(cells, cell)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(cells)) + "|\n")
		}
	}
	return before + "\n## " + heading + "\n" + after[:begin+1] + b.String() + "\n" + rest
}

// literal is a value as TOML has it.
func literal(raw any) string {
	switch raw := raw.(type) {
	case string:
		return fmt.Sprintf("%q", raw)
	case []any:
		var list []string
		for _, e := range raw {
			list = append(list, literal(e))
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	return fmt.Sprint(raw)
}
