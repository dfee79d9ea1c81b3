package migrate

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// open reads what the tests include.
func open(pattern string) (list []Input, err error) {
	names, err := filepath.Glob(pattern)
	if err == nil && len(names) == 0 && !strings.Contains(pattern, "*") {
		err = os.ErrNotExist
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		list = append(list, Input{name, string(text)})
	}
	return list, err
}

// Each config in testdata becomes the TOML beside it, and the findings, word by word.
func TestGolden(t *testing.T) {
	haproxy, _ := filepath.Glob("testdata/*.cfg")
	nginx, _ := filepath.Glob("testdata/*.conf")
	if len(haproxy) < 5 || len(nginx) < 3 {
		t.Fatal(haproxy, nginx)
	}
	for _, file := range append(haproxy, nginx...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{file, string(text)}
			var r *Result
			if program := Program(in.Text); program == "haproxy" {
				r = HAProxy([]Input{in}, func(name string) (string, bool) { return "from-environment", name == "SITE" })
			} else {
				r = Nginx(in, open)
			}
			var findings strings.Builder
			for _, f := range r.Refused {
				findings.WriteString(f.String() + "\n")
			}
			for _, f := range r.Notes {
				findings.WriteString("note: " + f.String() + "\n")
			}
			golden(t, file+".toml", r.TOML)
			golden(t, file+".txt", findings.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// sound holds a result to what the package promises of every text.
func sound(t *testing.T, r *Result) {
	t.Helper()
	if r.TOML == "" {
		if len(r.Refused) == 0 {
			t.Error("nothing came out, and nothing says why")
		}
		return
	}
	if _, err := config.Parse("f", r.TOML, nil); err != nil {
		var problems config.Problems
		errors.As(err, &problems)
		t.Errorf("the result is not accepted: %v\n%s", problems, r.TOML)
	}
	for _, f := range append(r.Refused, r.Notes...) {
		if strings.ContainsAny(f.What+f.Text, "\n\r") {
			t.Errorf("more than one line: %q", f)
		}
	}
}

func seeds(f *testing.F, pattern string) {
	files, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
}

func FuzzHAProxy(f *testing.F) {
	seeds(f, "*.cfg")
	f.Fuzz(func(t *testing.T, text string) {
		sound(t, HAProxy([]Input{{"f", text}}, func(string) (string, bool) { return "x", true }))
	})
}

func FuzzNginx(f *testing.F) {
	seeds(f, "*.conf")
	f.Fuzz(func(t *testing.T, text string) {
		sound(t, Nginx(Input{"/f", text}, func(string) ([]Input, error) { return nil, nil }))
	})
}
