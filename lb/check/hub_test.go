package check

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(peersOf); kind != "" {
		bePeers(kind)
	}
	goleak.VerifyTestMain(m)
}

var (
	here  = netip.MustParseAddrPort("192.0.2.1:5432")
	every = Options{Kind: "fake", Interval: 10 * time.Second, Timeout: time.Second, FastInterval: time.Second, Fall: 2, Rise: 2}
)

// fake is a kind of check that says what it is told, after a while.
type fake struct {
	mu     sync.Mutex
	say    Result
	takes  time.Duration
	asked  []time.Time
	active int
	most   int // probes under way at once
}

func (f *fake) ask(ctx context.Context, _ netip.AddrPort) Result {
	f.mu.Lock()
	f.asked = append(f.asked, time.Now())
	f.active++
	f.most = max(f.most, f.active)
	takes := f.takes
	f.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active--
	if ctx.Err() != nil {
		return Result{Reason: Timeout}
	}
	return f.say
}

func (f *fake) underWay() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active
}

func (f *fake) set(r Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.say = r
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func newFakeHub(f *fake) *Hub {
	h := NewHub()
	h.kinds["fake"] = func(Options) (probeFunc, error) { return f.ask, nil }
	return h
}

func (h *Hub) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.probes)
}

// ear notes what a watch is told.
type ear struct {
	mu    sync.Mutex
	heard []string
}

func (e *ear) tell(s State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	word := "down"
	if s.Up {
		word = "up"
	}
	e.heard = append(e.heard, word)
}

func (e *ear) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.heard, " ")
}

func watch(t *testing.T, h *Hub, o Options) (*Watch, *ear) {
	t.Helper()
	e := new(ear)
	w, err := h.Watch(here, o, 0, e.tell)
	if err != nil {
		t.Fatal(err)
	}
	return w, e
}

func TestWatchHearsEachChangeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: pass}
		h := newFakeHub(f)
		defer h.Close()
		_, e := watch(t, h, every)
		time.Sleep(time.Minute)
		f.set(fail)
		time.Sleep(time.Minute)
		f.set(pass)
		time.Sleep(time.Minute)
		if e.String() != "up down up" {
			t.Errorf("heard %q", e)
		}
	})
}

func TestEqualWatchesShareAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: pass, takes: time.Second / 2}
		h := newFakeHub(f)
		defer h.Close()
		first, one := watch(t, h, every)
		time.Sleep(5 * time.Second)
		_, late := watch(t, h, every)
		other := every
		other.Fall = 5
		_, apart := watch(t, h, other)
		synctest.Wait()
		if one.String() != "up" || late.String() != "up" || apart.String() != "" {
			t.Errorf("heard %q, %q, %q: who joins late hears the present state at once, if it is his", one, late, apart)
		}
		if n := h.size(); n != 2 {
			t.Errorf("%d probes, want one for each set of options", n)
		}
		time.Sleep(time.Minute)
		first.Close()
		first.Close()
		f.set(fail)
		time.Sleep(time.Minute)
		if one.String() != "up" || late.String() != "up down" {
			t.Errorf("heard %q after Close, and %q by the other", one, late)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.most > 2 { // one for each set of options
			t.Errorf("%d probes at once: those of one target and options never overlap", f.most)
		}
	})
}

func TestLastWatchEndsTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: pass, takes: time.Second / 2}
		h := newFakeHub(f)
		defer h.Close()
		w, e := watch(t, h, every)
		time.Sleep(time.Second / 4) // in the middle of a probe
		w.Close()
		time.Sleep(time.Minute)
		if n := f.count(); n != 1 || e.String() != "" || h.size() != 0 {
			t.Errorf("%d probes, heard %q, %d left", n, e, h.size())
		}
	})
}

func TestPokeAsksSoonButNotTooSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: pass}
		h := newFakeHub(f)
		defer h.Close()
		w, _ := watch(t, h, every)
		time.Sleep(3 * time.Second)
		f.mu.Lock()
		f.asked = nil
		f.mu.Unlock()
		start := time.Now()
		for range 50 {
			w.Poke()
			time.Sleep(100 * time.Millisecond)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.asked) < 4 || len(f.asked) > 6 || f.asked[0].Sub(start) > time.Second {
			t.Errorf("%d probes in 5 s of pokes, the first after %v; want one a second", len(f.asked), f.asked[0].Sub(start))
		}
	})
}

// Who asks is told the answer of a probe that began after that, once, be it news or not; others are not.
func TestAskTellsTheNextAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: pass, takes: 100 * time.Millisecond}
		h := newFakeHub(f)
		defer h.Close()
		a, heard := watch(t, h, every)
		_, other := watch(t, h, every)
		time.Sleep(50 * time.Millisecond)
		a.Ask() // the probe under way is not the answer
		time.Sleep(100 * time.Millisecond)
		if heard.String() != "up" || f.count() != 1 {
			t.Errorf("heard %q after %d probes", heard, f.count())
		}
		a.Ask()
		time.Sleep(every.FastInterval + 100*time.Millisecond)
		if heard.String() != "up up" || f.count() != 2 {
			t.Errorf("heard %q after %d probes, want the answer", heard, f.count())
		}
		time.Sleep(time.Minute)
		for f.underWay() > 0 { // it would be the first to fail
			time.Sleep(f.takes)
		}
		f.set(fail)
		a.Ask()
		time.Sleep(2 * time.Second)
		if heard.String() != "up up up" && heard.String() != "up up up down" { // the first failure changes nothing
			t.Errorf("heard %q, want an answer that is no news", heard)
		}
		f.set(pass)
		time.Sleep(time.Minute)
		if other.String() != strings.Replace(heard.String(), "up up up", "up", 1) {
			t.Errorf("the other heard %q, who asked %q", other, heard)
		}
		a.Ask()
		a.Close()
		a.Ask()
		time.Sleep(2 * time.Second)
	})
}

// A target is asked faster while any of its watches hurries, and no longer.
func TestHurryAsksFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: pass}
		h := newFakeHub(f)
		defer h.Close()
		a, _ := watch(t, h, every)
		b, _ := watch(t, h, every)
		probes := func(least, most int) {
			t.Helper()
			f.mu.Lock()
			f.asked = nil
			f.mu.Unlock()
			time.Sleep(60*time.Second + time.Millisecond)
			f.mu.Lock()
			defer f.mu.Unlock()
			if n := len(f.asked); n < least || n > most {
				t.Errorf("%d probes in a minute, want %d to %d", n, least, most)
			}
		}
		time.Sleep(3 * time.Second)
		probes(5, 7)
		begin := time.Now()
		a.Hurry(true)
		a.Hurry(true)
		b.Hurry(true)
		probes(59, 61)
		f.mu.Lock()
		if wait := f.asked[0].Sub(begin); wait > every.FastInterval {
			t.Errorf("the first after %v", wait)
		}
		f.mu.Unlock()
		a.Hurry(false)
		a.Hurry(false)
		probes(59, 61)
		a.Hurry(true)
		a.Close()
		b.Hurry(false)
		probes(5, 7)
		a.Hurry(true)
		probes(5, 7)
	})
}

func TestSilentDeathIsFoundInFallTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{say: pass}
		h := newFakeHub(f)
		defer h.Close()
		_, e := watch(t, h, every)
		time.Sleep(30 * time.Second)
		f.mu.Lock()
		f.takes = time.Hour
		f.mu.Unlock()
		time.Sleep(every.Interval*11/10 + 2*every.Timeout + every.FastInterval)
		if e.String() != "up down" {
			t.Errorf("heard %q", e)
		}
	})
}

func TestWatchRefusesWhatCannotBe(t *testing.T) {
	h := NewHub()
	defer h.Close()
	good := Options{Kind: "tcp", Interval: time.Second, Timeout: time.Second, FastInterval: time.Second, Fall: 1, Rise: 1}
	for want, change := range map[string]func(*Options){
		`kind "ping"`:      func(o *Options) { o.Kind = "ping" },
		"interval 0s":      func(o *Options) { o.Interval = 0 },
		"timeout -1ns":     func(o *Options) { o.Timeout = -1 },
		"fast interval 0s": func(o *Options) { o.FastInterval = 0 },
		"fall 0":           func(o *Options) { o.Fall = 0 },
		"rise -1":          func(o *Options) { o.Rise = -1 },
	} {
		o := good
		change(&o)
		if _, err := h.Watch(here, o, 0, func(State) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
	if _, err := h.Watch(netip.AddrPort{}, good, 0, func(State) {}); err == nil {
		t.Error("no address is refused")
	}
	h.Close()
	if _, err := h.Watch(here, good, 0, func(State) {}); err != ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}
