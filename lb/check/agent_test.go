package check

import (
	"io"
	"net"
	"strings"
	"testing"
)

func TestAgentLines(t *testing.T) {
	for line, want := range map[string]Result{
		"up\n":                            {Alive: true, Reason: OK},
		"ready up\r\n":                    {Alive: true, Reason: OK},
		"75%\n":                           {Alive: true, Reason: OK, Percent: 75},
		"up,150%\tmaxconn:30\n":           {Alive: true, Reason: OK, Percent: 150},
		"50% drain\n":                     {Alive: true, Draining: true, Reason: Leaving},
		"50% down\n":                      {Reason: SaysDown, Detail: "down"},
		"drain\n":                         {Alive: true, Draining: true, Reason: Leaving, Detail: "no new sessions"},
		"up 0% # deploy\n":                {Alive: true, Draining: true, Reason: Leaving, Detail: "no new sessions deploy"},
		"down # disk full\n":              {Reason: SaysDown, Detail: "the agent says down"},
		"fail#x":                          {Reason: SaysDown, Detail: "fail x"},
		"maint\n":                         {Reason: SaysDown, Detail: "maint"},
		"up stopped\n":                    {Reason: SaysDown, Detail: "stopped"},
		"# nothing but a remark\n":        {Reason: Garbled, Detail: "says nothing"},
		"HTTP/1.1 200 OK\n":               {Reason: Garbled, Detail: "no word"},
		"-5%\n":                           {Reason: Garbled, Detail: "no word"},
		"99999%\n":                        {Reason: Garbled, Detail: "no word"},
		strings.Repeat("up ", 300) + "\n": {Alive: true, Reason: OK},
	} {
		r := parseAgent(line)
		if !strings.Contains(r.Detail, want.Detail) {
			t.Errorf("%q: detail %q, want %q", line, r.Detail, want.Detail)
		}
		r.Detail, want.Detail = "", ""
		if r != want {
			t.Errorf("%q: %+v, want %+v", line, r, want)
		}
	}
}

func TestAgentProbe(t *testing.T) {
	whole, end := script(t, "up 50%\n")
	if r := probeOnce(t, Options{Kind: "agent"}, whole); !r.Alive || r.Draining || r.Percent != 50 {
		t.Errorf("%+v", r)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	closing := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "drain") })
	if r := probeOnce(t, Options{Kind: "agent"}, closing); !r.Draining {
		t.Errorf("a line that ends with the connection: %+v", r)
	}
	long := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("up ", 1000)) })
	wantReason(t, probeOnce(t, Options{Kind: "agent"}, long), Garbled, "longer than")
	wrongs(t, Options{Kind: "agent"})
}

func FuzzAgent(f *testing.F) {
	for _, s := range []string{"up 75% maxconn:1 # x\n", "drain,ready", "down#", "\x00%", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := parseAgent(line)
		if r.Alive != (r.Reason == OK || r.Reason == Leaving) || len(r.Detail) > 400 || strings.ContainsRune(r.Detail, '\n') {
			t.Errorf("%q: %+v", line, r)
		}
	})
}
