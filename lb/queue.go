package lb

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/pool"
)

// queue holds the TCP clients of one pool that wait for a peer, in the order in which they came: because every peer is at
// its limit, because there is none, or because an operator holds the pool. A client that waits has no lease; it gets one
// here, in its turn, and its session is told to go on.
//
// Nobody is forgotten: who gives a lease back looks at n after that, who joins looks for a peer after n is raised, and
// every epoch is followed by a look.
type queue struct {
	pool *livePool
	n    atomic.Int64 // clients that wait
	held atomic.Bool  // by an operator

	mu     sync.Mutex
	list   list.List   // of *ticket
	again  *time.Timer // when connect_rate lets the next one go; nil: nobody waits for that
	count  [2]int      // by reason
	closed bool
}

// reason is why a client waits. It says how many may, and for how long.
type reason uint8

const (
	isFull reason = iota // queue, queue_timeout
	isHeld               // hold_max, hold_timeout
)

// noRoom is why a client is refused that would have to wait, when too many do.
var noRoom = [...]refusal{isFull: {"queue", end.Limit}, isHeld: {"hold_max", end.Limit}}

// atPoolMaxConns is why one is refused that may not wait, when the pool is at its limit.
var atPoolMaxConns = refusal{"pool_max_conns", end.Limit}

// ticket is a client's place. All of it is guarded by queue.mu.
type ticket struct {
	trip   *trip
	why    reason
	at     *list.Element // nil: it waits no more
	timer  *time.Timer
	served bool     // trip.lease is taken
	end    end.Word // of the session, if it waited in vain
}

// waiter is a session that can wait.
type waiter interface{ Resume() }

// reasonToWait says why a new client has to wait before it may ask for a peer; false means that it need not.
func (q *queue) reasonToWait() (reason, bool) {
	switch {
	case q.held.Load():
		return isHeld, true
	case q.n.Load() > 0: // not before those who wait
		return q.reason()
	}
	return 0, false
}

// reason says why there is no peer, and whether clients wait for that.
func (q *queue) reason() (reason, bool) {
	c := q.pool.conf()
	switch {
	case q.pool.table.Selectable() == 0:
		return isHeld, c.WhenNone == "hold"
	case c.Queue == 0 && c.ConnectRate+c.MaxConnecting > 0 && q.n.Load() > 0:
		return isHeld, true // those that were held go one by one, and nobody before them
	}
	return isFull, c.Queue > 0
}

// bounds are those of a reason, and the word of who waited in vain.
func (q *queue) bounds(why reason) (most int, timeout time.Duration, late end.Word) {
	c := q.pool.conf()
	if why == isFull {
		return c.Queue, c.QueueTimeout, end.QueueTimeout
	}
	return c.HoldMax, c.HoldTimeout, end.NoPeer
}

// join makes a client wait, or says why it may not.
func (q *queue) join(t *trip, why reason) end.Word {
	most, timeout, late := q.bounds(why)
	k := &ticket{trip: t, why: why}
	q.mu.Lock()
	if !q.roomLocked(why, most) {
		q.mu.Unlock()
		no := noRoom[why]
		t.listener.rejected.add(no.reason)
		return no.word
	}
	k.at = q.list.PushBack(k)
	q.count[why]++
	q.n.Add(1)
	k.timer = time.AfterFunc(timeout, func() { q.giveUp(k, late) })
	t.ticket = k
	q.mu.Unlock()
	q.serve() // what came free before this client was in the list
	return end.None
}

func (q *queue) roomLocked(why reason, most int) bool { return !q.closed && q.count[why] < most }

// hasRoom says whether one more client may wait for a reason.
func (q *queue) hasRoom(why reason) bool {
	most, _, _ := q.bounds(why)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.roomLocked(why, most)
}

// serve gives peers to those who have waited longest. Only who has tried peers already may be passed by: for those that it
// has not tried.
func (q *queue) serve() {
	if q.n.Load() == 0 || q.held.Load() {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held.Load() {
		return
	}
	now := q.pool.table.Since(time.Now())
	for at := q.list.Front(); at != nil; {
		k := at.Value.(*ticket)
		at = at.Next()
		t := k.trip
		var err error
		if t.lease, err = q.pool.table.Acquire(pool.Request{Slot: t.slot, Now: now, Key: t.key(), Exclude: t.tried}); err == nil {
			k.served = true
			q.callLocked(k)
		} else if len(t.tried) == 0 {
			q.paceLocked()
			return
		}
	}
}

// paceLocked looks again when connect_rate may let somebody go.
func (q *queue) paceLocked() {
	rate := q.pool.conf().ConnectRate
	if rate == 0 || q.again != nil || q.closed {
		return
	}
	q.again = time.AfterFunc(max(time.Second/time.Duration(rate), time.Millisecond), func() {
		q.mu.Lock()
		q.again = nil
		q.mu.Unlock()
		q.serve()
	})
}

// callLocked ends the waiting of a client and tells its session, which then asks for what came of it.
func (q *queue) callLocked(k *ticket) {
	q.outLocked(k)
	k.trip.waiter.Resume()
}

func (q *queue) outLocked(k *ticket) {
	q.list.Remove(k.at)
	k.at = nil
	k.timer.Stop()
	q.count[k.why]--
	q.n.Add(-1)
}

// giveUp ends the waiting of a client that has waited too long.
func (q *queue) giveUp(k *ticket, w end.Word) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if k.at != nil {
		k.end = w
		q.callLocked(k)
	}
}

// answer says what came of the waiting: a lease in t.lease, or a word.
func (q *queue) answer(t *trip) end.Word {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := t.ticket
	t.ticket = nil
	return k.end
}

// leave takes out a session that ends before it has asked for the answer.
func (q *queue) leave(t *trip) {
	q.mu.Lock()
	k := t.ticket
	t.ticket = nil
	if k.at != nil {
		q.outLocked(k)
	}
	q.mu.Unlock()
	if k.served {
		t.lease.Release(pool.OutcomeNeutral)
		q.serve()
	}
}

// hold lets new clients wait from now on, or lets those that wait go. It is false if that is so already.
func (q *queue) hold(on bool) bool {
	changed := q.held.Swap(on) != on
	q.serve()
	return changed
}

// close ends the waiting of everybody; nobody waits from now on.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.again != nil {
		q.again.Stop()
	}
	for q.list.Len() > 0 {
		k := q.list.Front().Value.(*ticket)
		k.end = end.NoPeer
		q.callLocked(k)
	}
}
