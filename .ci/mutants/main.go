// Command mutants shows that the tests of a package can fail. Each file in PACKAGE/testdata/mutants is one mutant: a title,
// a text in a source file of the package, and what replaces it. The tests must fail with each of them.
//
//	title: an increment is not undone when its epoch is retired (I1)
//	file: epoch.go
//	run: TestI1|TestStress
//	--- was
//	old lines
//	--- is
//	new lines
//
// "run" (the tests to run) and "race: yes" are optional. The old text must occur exactly once; newlines at the end of the two
// texts do not count, so that they may be parts of a line. Nothing is copied or changed:
// the compiler sees the mutant through an overlay.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

type mutant struct {
	name, dir        string // its file, and the package
	title, file, run string
	race             bool
	was, is          string
	slow             string // the tests of the package that take long: they have their turn when all others have passed
}

// slowTest is how long a test takes that is run last.
const slowTest = 200 * time.Millisecond

// maxRuns is how often the tests are run before a mutant is said to survive: one that is wrong only when two threads meet in
// a window of a few instructions may be lucky once.
const maxRuns = 10

func main() {
	if err := check(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// check tries every mutant of the packages, which are folders.
func check(dirs []string) error {
	var mutants []mutant
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "testdata/mutants/*"))
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return fmt.Errorf("%s has no testdata/mutants", dir)
		}
		var runs []string // the tests that kill them; "" is all
		first := len(mutants)
		for _, name := range names {
			m, err := read(dir, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			mutants = append(mutants, m)
			runs = append(runs, m.run)
		}
		slices.Sort(runs)
		out, err := test(dir, "-v", "-run="+strings.Join(slices.Compact(runs), "|"))
		if err != nil {
			return fmt.Errorf("%s fails without any mutant: %w\n%s", dir, err, out)
		}
		for i := range mutants[first:] {
			mutants[first+i].slow = slowTests(out)
		}
	}
	work, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	todo := make(chan int)
	results := make([]error, len(mutants))
	var workers sync.WaitGroup
	for range min(runtime.NumCPU(), 4) {
		workers.Go(func() {
			for i := range todo {
				m, start := mutants[i], time.Now()
				word := "killed"
				if results[i] = m.try(filepath.Join(work, fmt.Sprint(i))); results[i] != nil {
					word = "FAIL  "
				}
				fmt.Printf("%s %5.1fs  %s: %s\n", word, time.Since(start).Seconds(), m.name, m.title)
			}
		})
	}
	for i := range mutants {
		todo <- i
	}
	close(todo)
	workers.Wait()
	fmt.Printf("%d mutants\n", len(mutants))
	return errors.Join(results...)
}

// slowTests gives a pattern of the tests that took long; "" is none.
func slowTests(out []byte) string {
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^--- PASS: (\w+) \((\S+)s\)$`).FindAllSubmatch(out, -1) {
		if seconds, err := strconv.ParseFloat(string(m[2]), 64); err == nil && seconds >= slowTest.Seconds() {
			names = append(names, "^"+string(m[1])+"$")
		}
	}
	return strings.Join(names, "|")
}

func read(dir, name string) (mutant, error) {
	m := mutant{name: filepath.Base(name), dir: dir}
	text, err := os.ReadFile(name)
	if err != nil {
		return m, err
	}
	head, body, ok := strings.Cut(string(text), "--- was\n")
	was, is, ok2 := strings.Cut(body, "--- is\n")
	if !ok || !ok2 {
		return m, errors.New("expected a head, \"--- was\" and \"--- is\"")
	}
	m.was, m.is = strings.TrimRight(was, "\n"), strings.TrimRight(is, "\n")
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "title":
			m.title = value
		case "file":
			m.file = value
		case "run":
			m.run = value
		case "race":
			m.race = value == "yes"
		default:
			return m, fmt.Errorf("%q, expected title, file, run or race", key)
		}
	}
	if m.title == "" || m.file == "" || m.was == "" {
		return m, errors.New("expected a title, a file and what was")
	}
	return m, nil
}

// try runs the tests with the mutant in place. It returns an error unless they fail.
func (m mutant) try(work string) error {
	path, err := filepath.Abs(filepath.Join(m.dir, m.file))
	if err != nil {
		return err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := bytes.Count(source, []byte(m.was)); n != 1 {
		return fmt.Errorf("%s does not apply: its text occurs %d times in %s", m.name, n, m.file)
	}
	changed, overlay := work+".go", work+".json"
	if err := os.WriteFile(changed, bytes.Replace(source, []byte(m.was), []byte(m.is), 1), 0o600); err != nil {
		return err
	}
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return err
	}
	args := []string{"-overlay=" + overlay, "-run=" + m.run, fmt.Sprint("-race=", m.race)}
	var out []byte
	err = nil
	if m.run == "" && m.slow != "" {
		out, err = test(m.dir, append(args, "-skip="+m.slow)...)
	}
	for run := 0; err == nil && run < maxRuns; run++ {
		out, err = test(m.dir, args...)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return fmt.Errorf("%s survives: no test fails in %d runs", m.name, maxRuns)
	case !errors.As(err, &exit):
		return err
	case bytes.Contains(out, []byte("[build failed]")), bytes.Contains(out, []byte("[setup failed]")):
		return fmt.Errorf("%s does not compile:\n%s", m.name, out)
	}
	return nil
}

func test(dir string, args ...string) ([]byte, error) {
	args = append([]string{"test", "-count=1", "-vet=off", "-failfast", "-ldflags=-s -w", "-timeout=60s"}, args...)
	return exec.Command("go", append(args, "./"+filepath.Clean(dir))...).CombinedOutput()
}
