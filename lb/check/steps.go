package check

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"time"
)

// Step is one step of a "send_expect" probe: exactly one of its fields is set.
type Step struct {
	Send        string // text
	SendHex     string // bytes, two digits each
	Expect      string // text that must come, after whatever
	ExpectHex   string
	ExpectRegex string // over all that came and was not matched yet, as bytes
}

// mostExpect is how much a probe keeps of what no step has matched yet, in bytes.
const mostExpect = 64 << 10

// step is a Step made ready.
type step struct {
	send []byte // nil: it waits
	find func(got []byte) []int
	want string // for people
}

func (s Step) ready() (step, error) {
	text := func(b []byte) step {
		return step{want: quote(b), find: func(got []byte) []int {
			if i := bytes.Index(got, b); i >= 0 {
				return []int{i, i + len(b)}
			}
			return nil
		}}
	}
	set := 0
	for _, v := range []string{s.Send, s.SendHex, s.Expect, s.ExpectHex, s.ExpectRegex} {
		if v != "" {
			set++
		}
	}
	if set != 1 {
		return step{}, fmt.Errorf("step: %d things to do, expected one", set)
	}
	switch {
	case s.Send != "":
		return step{send: []byte(s.Send)}, nil
	case s.Expect != "":
		return text([]byte(s.Expect)), nil
	case s.ExpectRegex != "":
		re, err := regexp.Compile(s.ExpectRegex)
		if err != nil {
			return step{}, fmt.Errorf("step: %w", err)
		}
		return step{want: "a match of " + quote(s.ExpectRegex), find: re.FindIndex}, nil
	}
	b, err := hex.DecodeString(s.SendHex + s.ExpectHex)
	if err != nil {
		return step{}, fmt.Errorf("step: %w", err)
	}
	if s.SendHex != "" {
		return step{send: b}, nil
	}
	return text(b), nil
}

// newSendExpect is the "send_expect" kind: a conversation that goes as it is written is life.
func newSendExpect(o Options) (probeFunc, error) {
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	if len(o.Steps) == 0 {
		return nil, fmt.Errorf("no steps")
	}
	steps := make([]step, len(o.Steps))
	for i, s := range o.Steps {
		if steps[i], err = s.ready(); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, target netip.AddrPort) Result {
		c, err := w.openBy(ctx, o.Protocol, target)
		if err != nil {
			return failed(err)
		}
		defer leave(c)
		start := time.Now()
		if err := converse(c, steps); err != nil {
			return failed(err)
		}
		return Result{Alive: true, Reason: OK, Latency: time.Since(start)}
	}, nil
}

// converse takes the steps in order. What an expectation matched, and all before it, is gone for the next one.
func converse(c net.Conn, steps []step) error {
	var got []byte
	chunk := make([]byte, 4096)
	for i, s := range steps {
		if s.send != nil {
			if _, err := c.Write(s.send); err != nil {
				return fmt.Errorf("step %d: %w", i+1, err)
			}
			continue
		}
		for {
			if at := s.find(got); at != nil {
				got = got[at[1]:]
				break
			}
			if len(got) >= mostExpect {
				return &failure{Unexpected, fmt.Errorf("step %d: %d bytes without %s, the first %s", i+1, len(got), s.want, quote(got))}
			}
			n, err := c.Read(chunk)
			got = append(got, chunk[:n]...)
			if n == 0 && err != nil {
				if len(got) > 0 && reason(err) != Local {
					return &failure{Unexpected, fmt.Errorf("step %d: expected %s, got %s: %w", i+1, s.want, quote(got), err)}
				}
				return fmt.Errorf("step %d: expected %s: %w", i+1, s.want, err)
			}
		}
	}
	return nil
}
