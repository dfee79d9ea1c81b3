package config

import (
	"encoding/hex"
	"path/filepath"
	"strings"
)

// Step is one step of a check of kind send_expect: exactly one of its fields is set.
type Step struct {
	Send, SendHex, Expect, ExpectHex, ExpectRegex string
}

const (
	stepForms   = "a list of steps such as { send = \"PING\\r\\n\" } and { expect = \"PONG\" }"
	commandForm = "a list of a program's absolute path and its arguments"
)

const mostSteps = 32

var stepKeys = []key[Step]{
	{name: "send", read: func(s *Step, v value) { v.bytes(&s.Send, false) }},
	{name: "send_hex", read: func(s *Step, v value) { v.bytes(&s.SendHex, true) }},
	{name: "expect", read: func(s *Step, v value) { v.bytes(&s.Expect, false) }},
	{name: "expect_hex", read: func(s *Step, v value) { v.bytes(&s.ExpectHex, true) }},
	{name: "expect_regex", read: func(s *Step, v value) { v.regexp(&s.ExpectRegex) }},
}

// readSteps reads the conversation of a check.
func readSteps(c *Check, v value) {
	list, ok := v.raw.([]value)
	if !ok || len(list) > mostSteps {
		v.unexpected("%s, at most %d", stepForms, mostSteps)
		return
	}
	c.Steps = nil
	for _, e := range list {
		var s Step
		entries, isTable := e.table()
		if !isTable || !readTable(e, stepKeys, &s) {
			continue
		}
		if len(entries) != 1 || s == (Step{}) && e.sound(entries[0].key) {
			e.fail("found a step with %d things to do, expected one of %s", len(entries), choice(known(stepKeys)))
			continue
		}
		c.Steps = append(c.Steps, s)
	}
}

// bytes reads what is sent or expected, from 1 to 4096 bytes of it.
func (v value) bytes(dst *string, isHex bool) {
	const most = 4096
	expected := "text of 1 to 4096 bytes"
	if isHex {
		expected = "1 to 4096 bytes as two hexadecimal digits each"
	}
	s, ok := v.text(expected)
	if !ok {
		return
	}
	n := len(s)
	if isHex {
		s = strings.ReplaceAll(s, " ", "")
		b, err := hex.DecodeString(s)
		if err != nil {
			v.unexpected("%s", expected)
			return
		}
		n = len(b)
	}
	if n < 1 || n > most {
		v.unexpected("%s", expected)
		return
	}
	*dst = s
}

// command reads a program and its arguments.
func (v value) command(dst *[]string) {
	list, ok := v.raw.([]value)
	if !ok || len(list) > 100 {
		v.unexpected(commandForm)
		return
	}
	var out []string
	for i, e := range list {
		s, ok := e.text(commandForm)
		switch {
		case !ok:
			return
		case strings.ContainsRune(s, 0), i == 0 && !filepath.IsAbs(s):
			e.unexpected(commandForm)
			return
		}
		out = append(out, s)
	}
	*dst = out
}

// dnsName reads a name that is asked for; "." is the root.
func (v value) dnsName(dst *string) {
	const expected = "a DNS name, or \".\" for the root"
	s, ok := v.text(expected)
	if !ok {
		return
	}
	if s != "." {
		if why := nameProblem(s); why != "" {
			v.unexpected("%s: %s", expected, why)
			return
		}
	}
	*dst = s
}
