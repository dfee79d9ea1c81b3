package check

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// mostAgent is the longest line of an agent, in bytes.
const mostAgent = 1024

// newAgent is the "agent" kind: a program beside the server says how that is, in the words of HAProxy's agent-check. It
// speaks first, one line; each line says all, nothing of an earlier one stays.
func newAgent(o Options) (probeFunc, error) {
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, target netip.AddrPort) Result {
		c, err := w.open(ctx, target)
		if err != nil {
			return failed(err)
		}
		defer leave(c)
		line, err := bufio.NewReaderSize(c, mostAgent).ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return failed(&failure{Garbled, fmt.Errorf("the agent's line is longer than %d bytes: %s", mostAgent, quote(line))})
		}
		if len(line) == 0 || err != nil && reason(err) != Closed { // the end of the connection ends a line too
			return failed(err)
		}
		return parseAgent(string(line))
	}, nil
}

// parseAgent reads words with spaces, tabs or commas between them; a # begins a remark. A percentage is of the weight that
// the target has otherwise, 0 means "drain"; "maxconn:N" tunes HAProxy's own limits, and is heard without effect.
func parseAgent(line string) Result {
	line, _, _ = strings.Cut(strings.TrimRight(line, "\r\n"), "\r")
	words, remark, _ := strings.Cut(line, "#")
	r := Result{Alive: true, Reason: OK}
	n := 0
	for word := range strings.FieldsFuncSeq(words, func(c rune) bool { return c == ' ' || c == '\t' || c == ',' }) {
		n++
		percent, isPercent := strings.CutSuffix(word, "%")
		number, err := strconv.ParseUint(percent, 10, 16)
		switch {
		case isPercent && err == nil:
			r.Draining, r.Percent = r.Draining || number == 0, int(number)
		case word == "up", word == "ready", strings.HasPrefix(word, "maxconn:"):
		case word == "drain":
			r.Draining = true
		case word == "down", word == "fail", word == "failed", word == "stopped", word == "maint":
			r.Alive = false
			remark = word + " " + strings.TrimSpace(remark)
		default:
			return failed(&failure{Garbled, fmt.Errorf("no word of an agent: %s", quote(word))})
		}
	}
	switch {
	case n == 0:
		return failed(&failure{Garbled, errors.New("the agent says nothing")})
	case !r.Alive:
		return Result{Reason: SaysDown, Detail: oneLine("the agent says " + strings.TrimSpace(remark))}
	}
	if r.Draining {
		r.Percent = 0
		r.Reason, r.Detail = Leaving, oneLine(strings.TrimSpace("the agent asks for no new sessions "+strings.TrimSpace(remark)))
	}
	return r
}
