package check

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func is(r Role, timeline uint64) Result {
	return Result{Alive: true, Reason: OK, Role: r, Timeline: timeline}
}

func behind(d time.Duration) Result {
	return Result{Alive: true, Reason: OK, Role: Replica, Lag: d, LagKnown: true}
}

// words writes a state as a watch may care for it.
func words(s State) string {
	out := []string{"down"}
	if s.Up {
		out[0] = "up"
	}
	if r := s.Role.String(); r != "" {
		out = append(out, r)
	}
	if s.Timeline > 0 {
		out = append(out, fmt.Sprint(s.Timeline))
	}
	for _, w := range []struct {
		word string
		on   bool
	}{{"lagging", s.Lagging}, {"full", s.Full}, {"draining", s.Draining}} {
		if w.on {
			out = append(out, w.word)
		}
	}
	return strings.Join(out, " ")
}

func TestRoleIsBelievedAtOnce(t *testing.T) {
	full := Result{Alive: true, Full: true, Reason: OK}
	drain := Result{Alive: true, Draining: true, Reason: OK}
	tg := target{options: Options{Fall: 3, Rise: 2}}
	for i, c := range []struct {
		result Result
		want   string
	}{
		{is(Primary, 3), "up primary 3"},
		{is(Replica, 0), "up replica"},
		{is(Primary, 4), "up primary 4"},
		{fail, "up primary 4"},
		{local, "up primary 4"},
		{full, "up primary 4 full"}, // too full to say
		{is(Primary, 5), "up primary 5"},
		{fail, "up primary 5"},
		{fail, "up primary 5"},
		{fail, "down"}, // and forgotten
		{is(Replica, 0), "down"},
		{full, "up full"},
		{is(Replica, 0), "up replica"},
		{drain, "up replica draining"},
		{is(Replica, 0), "up replica"},
	} {
		c.result.At = time.Unix(int64(i+1), 0)
		tg.observe(c.result)
		if got := words(tg.state); got != c.want {
			t.Errorf("after result %d: %s, want %s", i, got, c.want)
		}
		if i == 2 && tg.state.Since.Unix() != 3 {
			t.Errorf("since %v, want the change of role", tg.state.Since)
		}
	}
}

func TestLagHasALimitAndAMargin(t *testing.T) {
	const most = 10 * time.Second
	for _, c := range []struct {
		result Result
		most   time.Duration
		was    bool
		want   bool
	}{
		{behind(10 * time.Second), most, false, false},
		{behind(10*time.Second + 1), most, false, true},
		{behind(9 * time.Second), most, true, true},
		{behind(8 * time.Second), most, true, false},
		{behind(time.Hour), 0, true, false},
		{is(Replica, 0), most, false, true}, // which does not say
		{is(Primary, 0), most, true, false},
	} {
		if got := lagging(c.result, c.most, c.was); got != c.want {
			t.Errorf("%+v, at most %v, was %v: %v", c.result, c.most, c.was, got)
		}
	}
}

// One probe serves watches that bear different lags; each is told of what concerns it, once.
func TestWatchHearsRolesAndLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: behind(time.Minute)}
		h := newFakeHub(f)
		defer h.Close()
		var mu sync.Mutex
		heard := make(map[time.Duration][]string)
		for _, most := range []time.Duration{0, 10 * time.Second, time.Hour} {
			if _, err := h.Watch(here, every, most, func(s State) {
				mu.Lock()
				defer mu.Unlock()
				heard[most] = append(heard[most], words(s))
			}); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range []Result{behind(9 * time.Second), behind(time.Second), behind(2 * time.Hour), fail, is(Primary, 1), is(Primary, 2), fail} {
			time.Sleep(time.Minute)
			f.set(r)
		}
		time.Sleep(time.Minute)
		if h.size() != 1 {
			t.Errorf("%d probes, want one", h.size())
		}
		mu.Lock()
		defer mu.Unlock()
		for most, want := range map[time.Duration]string{
			0:                "up replica, down, up primary 1, up primary 2, down",
			10 * time.Second: "up replica lagging, up replica, up replica lagging, down, up primary 1, up primary 2, down",
			time.Hour:        "up replica, up replica lagging, down, up primary 1, up primary 2, down",
		} {
			if got := strings.Join(heard[most], ", "); got != want {
				t.Errorf("at most %v: heard %s, want %s", most, got, want)
			}
		}
	})
}
