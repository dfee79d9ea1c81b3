//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
)

// logs keeps every line that ebb wrote to stderr. Reading is quick, so that ebb never waits for the test: lines are
// decoded when somebody asks.
type logs struct {
	mu       sync.Mutex
	lines    [][]byte
	decoded  int // lines that went into records, sessions and stray
	records  map[string][]record
	sessions []session
	stray    [][]byte // lines that are no JSON: a panic, a race
}

// record is one log line but a session's.
type record map[string]any

// text gives a field as text; "" if it is absent.
func (r record) text(key string) string {
	s, _ := r[key].(string)
	return s
}

// session is one line with msg=session.
type session struct {
	ID       uint64  `json:"id"`
	Listener string  `json:"listener"`
	Proto    string  `json:"proto"`
	Client   string  `json:"client"`
	Local    string  `json:"local"`
	Upstream string  `json:"upstream"`
	Peer     string  `json:"peer"`
	Epoch    uint64  `json:"epoch"`
	In       int64   `json:"in"`
	Out      int64   `json:"out"`
	Duration float64 `json:"duration_ms"`
	Connect  float64 `json:"connect_ms"`
	Attempts string  `json:"attempts"`
	End      string  `json:"end"`
}

func newLogs() *logs { return &logs{records: make(map[string][]record)} }

func (l *logs) read(r io.Reader) {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			l.mu.Lock()
			l.lines = append(l.lines, line)
			l.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// decodeLocked brings records, sessions and stray up to date.
func (l *logs) decodeLocked() {
	for _, line := range l.lines[l.decoded:] {
		if bytes.Contains(line, []byte(`"msg":"session"`)) {
			var s session
			if json.Unmarshal(line, &s) == nil {
				l.sessions = append(l.sessions, s)
				continue
			}
		}
		var r record
		if json.Unmarshal(line, &r) != nil {
			l.stray = append(l.stray, line)
			continue
		}
		l.records[r.text("msg")] = append(l.records[r.text("msg")], r)
	}
	l.decoded = len(l.lines)
}

// find gives the lines with a message whose fields have the given texts: pairs of key and value.
func (l *logs) find(msg string, pairs ...string) (found []record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decodeLocked()
next:
	for _, r := range l.records[msg] {
		for i := 0; i < len(pairs); i += 2 {
			if r.text(pairs[i]) != pairs[i+1] {
				continue next
			}
		}
		found = append(found, r)
	}
	return found
}

// ended gives the sessions that have ended so far, in order.
func (l *logs) ended() []session {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decodeLocked()
	return l.sessions[:len(l.sessions):len(l.sessions)]
}

// unstructured gives what is no JSON.
func (l *logs) unstructured() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decodeLocked()
	return string(bytes.Join(l.stray, nil))
}

// count is the number of lines so far.
func (l *logs) count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.lines))
}

// tail gives the last lines, and all that is no JSON.
func (l *logs) tail(n int) string {
	stray := l.unstructured()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(stray) > 1<<16 {
		stray = stray[:1<<16]
	}
	return strings.TrimRight(string(bytes.Join(l.lines[max(0, len(l.lines)-n):], nil))+"\n"+stray, "\n")
}
