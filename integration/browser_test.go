//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// browser is a headless Chromium with one page, driven by the DevTools protocol over a pair of pipes.
type browser struct {
	to      *os.File
	session string

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
	said    []string // what the page complained of: exceptions, and what the policy refused
}

// answer is what comes from the browser: a reply, or with a method an event.
type answer struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Params json.RawMessage `json:"params"`
	Error  *struct{ Message string }
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	path := program(t, "chromium-headless-shell")
	fromUs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, fromIt, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
		"--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{fromUs, fromIt}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fromUs.Close()
	fromIt.Close()
	b := &browser{to: to, waiting: make(map[int]chan answer)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.read(from)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		to.Close()
		<-done
		from.Close()
	})
	var target struct{ TargetID string }
	b.call(t, "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call(t, "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(t, domain+".enable", nil, nil)
	}
	return b
}

func (b *browser) read(from *os.File) {
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var a answer
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &a) != nil {
			continue
		}
		b.mu.Lock()
		if waiting := b.waiting[a.ID]; waiting != nil && a.Method == "" {
			delete(b.waiting, a.ID)
			waiting <- a
		}
		if a.Method == "Runtime.exceptionThrown" || a.Method == "Log.entryAdded" {
			b.said = append(b.said, string(a.Params))
		}
		b.mu.Unlock()
	}
}

func (b *browser) call(t *testing.T, method string, params map[string]any, result any) {
	t.Helper()
	b.mu.Lock()
	b.next++
	id, waiting := b.next, make(chan answer, 1)
	b.waiting[id] = waiting
	b.mu.Unlock()
	message := map[string]any{"id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	text, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-waiting:
		err = nil
		if a.Error != nil {
			err = errors.New(a.Error.Message)
		} else if result != nil {
			err = json.Unmarshal(a.Result, result)
		}
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
	case <-time.After(patience):
		t.Fatalf("%s: no answer", method)
	}
}

// eval gives the text of an expression.
func (b *browser) eval(t *testing.T, expression string) string {
	t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails any
	}
	b.call(t, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		t.Fatalf("%s: %v", expression, r.ExceptionDetails)
	}
	return fmt.Sprint(r.Result.Value)
}

// await waits until an expression is true.
func (b *browser) await(t *testing.T, what, expression string) {
	t.Helper()
	expression = "(() => { try { return Boolean(" + expression + ") } catch { return false } })()" // not there yet
	eventually(t, what, func() bool { return b.eval(t, expression) == "true" })
}

func (b *browser) open(t *testing.T, url string) {
	t.Helper()
	b.call(t, "Page.navigate", map[string]any{"url": url}, nil)
}

// size sets that of the window, in CSS pixels, and the colours that its user likes.
func (b *browser) size(t *testing.T, width, height int, scheme string) {
	t.Helper()
	b.call(t, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.call(t, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// press types keys, one after the other; "Enter" and "Tab" are keys, too.
func (b *browser) press(t *testing.T, keys ...string) {
	t.Helper()
	for _, key := range keys {
		event := map[string]any{"key": key}
		switch key {
		case "Enter":
			event["text"], event["windowsVirtualKeyCode"] = "\r", 13
		case "Tab":
			event["windowsVirtualKeyCode"] = 9
		default:
			event["text"] = key
		}
		for _, kind := range []string{"keyDown", "keyUp"} {
			event["type"] = kind
			b.call(t, "Input.dispatchKeyEvent", event, nil)
		}
	}
}

// complaints are what the page said.
func (b *browser) complaints() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.said, "\n")
}
