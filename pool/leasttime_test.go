package pool

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// timed is a table of least_time whose clock stands, with peers whose connects took that many milliseconds; 0 is unknown.
func timed(t *testing.T, took ...int) (w *watched, now *time.Time) {
	t.Helper()
	now = new(time.Time)
	*now = time.Unix(1e9, 0)
	w = table(t, Options{Slots: 1, Now: func() time.Time { return *now }, Tuning: Tuning{Policy: LeastTime}})
	w.apply(t, members(len(took)))
	for i, ms := range took {
		if ms > 0 {
			w.took(i, time.Duration(ms)*time.Millisecond)
		}
	}
	return w, now
}

func (w *watched) took(i int, d time.Duration) {
	w.Peer(addr(i)).took(d, 1, w.clock(new(Request)))
}

// hold takes n leases and says in which order; they are given back when the test ends.
func (w *watched) hold(t *testing.T, n int) string {
	t.Helper()
	var order strings.Builder
	for range n {
		l := w.acquire(t, Request{})
		t.Cleanup(func() { l.Release(OutcomeNeutral) })
		order.WriteByte(l.Peer().Addr().Addr().As4()[3] - 1 + '0')
	}
	return order.String()
}

func TestLeastTimeWeighsLoadByTheTimeOfAConnect(t *testing.T) {
	w, _ := timed(t, 1, 4)
	if got := w.hold(t, 10); strings.Count(got, "1") != 2 || got[0] != '0' {
		t.Errorf("1 ms and 4 ms: 10 sessions went to %s, expected 8 and 2", got)
	}
}

func TestLeastTimeTakesTheUnknownForTheQuickest(t *testing.T) {
	w, _ := timed(t, 2, 0, 4)
	if got := w.hold(t, 10); strings.Count(got, "0") != 4 || strings.Count(got, "1") != 4 {
		t.Errorf("2 ms, unknown, 4 ms: 10 sessions went to %s, expected 4, 4 and 2", got)
	}
	w, _ = timed(t, 0, 0)
	if got := w.hold(t, 10); strings.Count(got, "0") != 5 {
		t.Errorf("nothing known: 10 sessions went to %s, expected 5 each", got)
	}
}

func TestLeastTimeForgetsWhoWasSlow(t *testing.T) {
	w, now := timed(t, 1, 100)
	if got := w.hold(t, 20); strings.Contains(got, "1") {
		t.Errorf("1 ms and 100 ms: 20 sessions went to %s", got)
	}
	for range 6 { // 100 ms fade to 1.6 ms; 21 sessions on the other
		*now = now.Add(halfLife)
		w.took(0, time.Millisecond)
	}
	if got := w.hold(t, 1); got != "1" {
		t.Error("who was slow a minute ago is not tried again")
	}
	w.took(1, 100*time.Millisecond)
	if got := w.hold(t, 20); strings.Contains(got, "1") {
		t.Errorf("it is as slow as ever, but of 20 sessions some went to it: %s", got)
	}
}

func TestLeastTimeIsFedByLeases(t *testing.T) {
	w, _ := timed(t, 0, 0)
	l := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
	l.Connected(8 * time.Millisecond)
	l.Release(OutcomeOK)
	if got := w.Peer(addr(0)).pace.mean.Load(); got != 8000 {
		t.Errorf("a connect of 8 ms makes a mean of %d µs", got)
	}
	w = table(t, Options{Slots: 1})
	w.apply(t, members(1))
	l = w.acquire(t, Request{})
	l.Connected(time.Second)
	l.Release(OutcomeOK)
	if got := w.Peer(addr(0)).pace.mean.Load(); got != 0 {
		t.Errorf("leastconn, which has no use for it, notes %d µs", got)
	}
}

func TestPace(t *testing.T) {
	var p pace
	if p.faded(0) != 0 {
		t.Error("nothing is known, but there is a mean")
	}
	p.took(0, 1)
	if got := p.faded(1); got != 1 {
		t.Errorf("a connect that took no time: %d, expected 1", got)
	}
	p = pace{}
	p.took(8*time.Millisecond, 1)
	p.took(16*time.Millisecond, 1)
	if got := p.faded(1); got != 9000 {
		t.Errorf("8 and 16 ms at once: %d, expected an eighth of the way", got)
	}
	h := int64(halfLife)
	for _, tc := range []struct{ after, want int64 }{{0, 9000}, {h / 2, 6750}, {h, 4500}, {2 * h, 2250}, {14 * h, 1}, {1000 * h, 1}, {-h, 9000}} {
		if got := p.faded(1 + tc.after); got != tc.want {
			t.Errorf("after %v: %d, expected %d", time.Duration(tc.after), got, tc.want)
		}
	}
	p.took(time.Millisecond, 1+h)
	if got := p.faded(1 + h); got != 5000 {
		t.Errorf("1 ms after a halfLife: %d, expected half the way", got)
	}
}

// Above exactLimit two are drawn, and the cheaper one is taken.
func TestLeastTimeAmongMany(t *testing.T) {
	took := make([]int, exactLimit+1)
	for i := range took {
		took[i] = 1 + i%2*99
	}
	w, _ := timed(t, took...)
	slow := 0
	for range 1000 {
		l := w.acquire(t, Request{})
		if (l.Peer().Addr().Addr().As4()[3]-1)%2 == 1 {
			slow++
		}
		l.Release(OutcomeOK)
	}
	if slow < 150 || slow > 350 { // both drawn are slow: about a quarter
		t.Errorf("of 1000 sessions %d went to those that take 100 ms", slow)
	}
}

// Where some candidate has to be asked for its standing, the choice is the same as where none has.
func TestLeastTimeAmongWhomNotAllMayBePicked(t *testing.T) {
	for _, took := range [][]int{{2, 0, 4}, {1, 4, 0}, {0, 0, 0}, {3, 3, 1}} {
		plain, _ := timed(t, took...)
		asked, _ := timed(t, took...)
		var want, got [3]int
		for range 10 {
			for w, r := range map[*watched]Request{plain: {}, asked: {Exclude: []netip.AddrPort{addr(9)}}} {
				l := w.acquire(t, r)
				t.Cleanup(func() { l.Release(OutcomeNeutral) })
				i := l.Peer().Addr().Addr().As4()[3] - 1
				if w == plain {
					want[i]++
				} else {
					got[i]++
				}
			}
		}
		if got != want {
			t.Errorf("%v: %v where all are good, %v where all are asked", took, want, got)
		}
	}
}
