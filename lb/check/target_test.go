package check

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var (
	pass    = Result{Alive: true, Reason: OK}
	fail    = Result{Reason: Timeout}
	refused = Result{Reason: Refused}
	local   = Result{Reason: Local}
)

// walk feeds results and gives the state after each: "up", "down" or "?".
func walk(o Options, results ...Result) string {
	t := target{options: o}
	var states []string
	for _, r := range results {
		t.observe(r)
		switch {
		case !t.state.Known:
			states = append(states, "?")
		case t.state.Up:
			states = append(states, "up")
		default:
			states = append(states, "down")
		}
	}
	return strings.Join(states, " ")
}

func TestRH10RiseAndFall(t *testing.T) {
	three := Options{Fall: 3, Rise: 2, RefusedIsDown: true}
	patient := Options{Fall: 3, Rise: 2}
	once := Options{Fall: 1, Rise: 1}
	for _, c := range []struct {
		name    string
		options Options
		results []Result
		want    string
	}{
		{"three failures in a row, two passes in a row", three,
			[]Result{pass, fail, fail, pass, fail, fail, fail, pass, pass}, "up up up up up up down down up"},
		{"the first result decides", three, []Result{fail, pass, pass}, "down down up"},
		{"a refusal is three failures", three, []Result{pass, refused}, "up down"},
		{"a refusal is one failure where it is not down", patient, []Result{pass, refused, refused, refused}, "up up up down"},
		{"a refusal does not rise", three, []Result{pass, refused, pass, refused, pass, pass}, "up down down down down up"},
		{"our own trouble says nothing", three, []Result{local, pass, local, fail, local, fail, local, fail, local}, "? up up up up up up down down"},
		{"one is enough", once, []Result{pass, fail, pass}, "up down up"},
	} {
		if got := walk(c.options, c.results...); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestStateSaysSinceWhen(t *testing.T) {
	tg := target{options: Options{Fall: 2, Rise: 1}}
	at := func(r Result, s int) Result {
		r.At = time.Unix(int64(s), 0)
		return r
	}
	tg.observe(at(pass, 1))
	tg.observe(at(fail, 2))
	if s := tg.state; s.Since.Unix() != 1 || s.Streak != 1 || s.Last.Reason != Timeout {
		t.Errorf("after one failure: %+v", s)
	}
	tg.observe(at(fail, 3))
	if s := tg.state; s.Since.Unix() != 3 || s.Streak != 0 || s.Up {
		t.Errorf("after two failures: %+v", s)
	}
}

func TestIntervalIsFastWhileThingsChange(t *testing.T) {
	o := Options{Interval: 10 * time.Second, FastInterval: time.Second, Fall: 3, Rise: 2}
	slow := Options{Interval: time.Second, FastInterval: 10 * time.Second, Fall: 3, Rise: 2}
	for _, c := range []struct {
		options Options
		results []Result
		want    time.Duration
	}{
		{o, nil, time.Second},
		{o, []Result{pass}, 10 * time.Second},
		{o, []Result{pass, fail}, time.Second},
		{o, []Result{pass, fail, pass}, 10 * time.Second},
		{o, []Result{fail, fail}, 10 * time.Second},
		{o, []Result{fail, pass}, time.Second},
		{slow, []Result{pass, fail}, time.Second}, // never slower than the interval
	} {
		t.Run(fmt.Sprint(c.results), func(t *testing.T) {
			tg := target{options: c.options}
			for _, r := range c.results {
				tg.observe(r)
			}
			least, most := c.want, time.Duration(0)
			for range 1000 {
				d := tg.interval()
				least, most = min(least, d), max(most, d)
			}
			if least < c.want*9/10 || most > c.want*11/10 || least == most {
				t.Errorf("from %v to %v, want %v and 10 %% around it", least, most, c.want)
			}
		})
	}
}
