//go:build linux && (amd64 || arm64)

package engine

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// uring is the engine on an io_uring.
type uring struct {
	wishes
	ring   *ring
	lent   *lent
	woken  bool     // the waker is to be watched again
	again  []Socket // carried streams with more to move
	hungry []Socket // starved sockets
	local  []Completion
	out    []Completion
}

// An operation's user data: what it is, its socket, and the generation of the record.
//
//	63..60 kind | 59..32 socket | 31..0 generation
type kind uint64

const (
	kindAccept kind = iota + 1
	kindConnect
	kindReceive
	kindSend
	kindPollIn
	kindPollOut
	kindPollLeft
	kindCancel
	kindWake
)

func (k kind) data(s Socket, gen uint32) uint64 { return uint64(k)<<60 | uint64(s)<<32 | uint64(gen) }

// inFlight is the state bit of a kind.
func (k kind) inFlight() state { return inAccept << (k - kindAccept) }

func openURing(o Options) (Engine, error) {
	u := &uring{wishes: wishes{bulk: pipes{make: newPipe}}}
	u.bulk.stats = &u.stats
	var err error
	if u.wake, err = newWaker(); err != nil {
		return nil, err
	}
	if u.ring, err = newRing(o.Entries, o.Events, 0); err != nil {
		u.wake.close()
		return nil, err
	}
	if u.buffers, err = mapBuffers(o.Buffers, o.BufferSize); err != nil {
		u.wake.close()
		u.ring.close()
		return nil, err
	}
	if u.lent, err = lend(u.ring, o.Lent, lentGroup); err != nil {
		u.wake.close()
		u.ring.close()
		u.buffers.unmap()
		return nil, err
	}
	u.woken = true
	return u, nil
}

func (u *uring) Name() string { return "uring" }

func (u *uring) Free() {
	u.ring.close() // first: the kernel gives up the buffers
	u.lent.unmap()
	u.buffers.unmap()
	u.bulk.close()
	u.wake.close()
}

func (u *uring) Connect(s Socket, addr netip.AddrPort) {
	r := u.at(s)
	e, a := u.ring.next()
	if e == nil {
		u.report(r, Connected, -int32(syscall.ENOBUFS), false, noBuffer)
		return
	}
	n := sock.Sockaddr((*[sock.SockaddrSize]byte)(a.addr[:]), addr)
	e.opcode, e.fd, e.addr, e.off = opConnect, r.fd, uint64(uintptr(unsafe.Pointer(&a.addr))), uint64(n)
	u.begin(e, r, s, kindConnect)
}

// begin completes a submission entry and notes that it is in flight.
func (u *uring) begin(e *sqe, r *record, s Socket, k kind) {
	e.userData = k.data(s, r.gen)
	r.state |= k.inFlight()
}

func (u *uring) report(r *record, op Op, res int32, more bool, b Buffer) {
	u.local = append(u.local, Completion{Op: op, More: more, Owner: r.owner, Result: res, Buffer: b})
}

func (u *uring) Turn(timeout time.Duration) []Completion {
	u.feed()
	u.lent.fill(u.buffers, u.mayLend())
	u.carryOut()
	for _, s := range u.again { // in the next turn: a stream that flows is not to keep others waiting
		u.mark(s, u.at(s))
	}
	u.again = u.again[:0]
	u.out = append(u.out[:0], u.local...)
	u.local = u.local[:0]

	count(&u.stats.Turns, 1)
	u.enter(timeout)
	if u.ring.overflown() {
		count(&u.stats.Overflows, 1)
	}
	n := u.ring.pending()
	for i := range n {
		u.complete(u.ring.peek(i))
	}
	u.ring.seen(n)
	count(&u.stats.Completions, n)
	u.out = append(u.out, u.local...)
	u.local = u.local[:0]
	u.bulk.pace(u.out)
	return u.out
}

// enter submits, and waits for completions if there are none.
func (u *uring) enter(timeout time.Duration) {
	if timeout == 0 || len(u.out) > 0 || len(u.work) > 0 {
		usable(u.ring.enter(enterGetEvents, 0))
		return
	}
	moment, more := linger(timeout)
	usable(u.ring.linger(moment))
	if more && u.ring.pending() == 0 {
		count(&u.stats.Waits, 1)
		idle := u.idle(&timeout)
		usable(u.ring.sleep(timeout))
		u.tidy(idle)
	}
}

// idle tells whether there is something to tidy up if nothing happens for timeout, which it bounds for that.
func (u *uring) idle(timeout *time.Duration) bool {
	if !u.bulk.unused() && len(u.next)-u.low <= len(u.lent.entries) {
		return false
	}
	bound(timeout)
	return true
}

// tidy gives back what is not needed, if nothing has happened.
func (u *uring) tidy(idle bool) {
	if !idle || u.ring.pending() > 0 || u.ring.overflown() { // a buffer that is lent may hold bytes
		return
	}
	u.bulk.close()
	u.trim(u.lent.n, len(u.lent.entries))
}

// usable tells an enter that could not do all now from one that can never work.
func usable(errno syscall.Errno) {
	switch errno {
	case 0, syscall.EINTR, syscall.ETIME:
	case syscall.EBUSY: // completions are held back until those that are there have been taken
	case syscall.EAGAIN, syscall.ENOMEM: // what was not submitted stays in the queue
		time.Sleep(time.Millisecond)
	default:
		panic("engine: io_uring_enter: " + errno.Error())
	}
}

// plenty tells whether buffers may be spent freely. If not, a receive is armed for one buffer only: one that stays armed
// takes up to 32 at a time, before anybody can say stop.
func (u *uring) plenty() bool { return u.left+u.lent.n > len(u.next)*3/4 }

// mayLend is how many buffers are to be in the kernel's hands. One receive may take them all, and what it takes may be
// stuck for as long as a client does not read; so the fewer are left, the smaller the part that is at stake.
func (u *uring) mayLend() int {
	if u.plenty() {
		return len(u.lent.entries)
	}
	return max(1, u.left/64)
}

// feed lets sockets that waited for a buffer try again.
func (u *uring) feed() {
	if len(u.hungry) == 0 || u.left == 0 && u.lent.n == 0 {
		return
	}
	for _, s := range u.hungry {
		r := u.at(s)
		if r.state&starved != 0 { // a record of a new generation is not
			r.state &^= starved
			u.mark(s, r)
		}
	}
	u.hungry = u.hungry[:0]
}

// carryOut brings what is in flight nearer to what is wanted, socket by socket. What finds the submission queue full
// stays in the list.
func (u *uring) carryOut() {
	if u.woken {
		if e, _ := u.ring.next(); e != nil {
			e.opcode, e.fd, e.opFlags = opPollAdd, u.wake.fd, unix.POLLIN
			e.userData = kindWake.data(0, 0)
			u.woken = false
		}
	}
	for i, s := range u.work {
		r := u.at(s)
		if !u.step(s, r) {
			u.work = u.work[:copy(u.work, u.work[i:])]
			return
		}
		r.state &^= dirty
	}
	u.work = u.work[:0]
}

// step carries out the wishes of one socket. It is false if the submission queue is full.
func (u *uring) step(s Socket, r *record) bool {
	if r.state&wantClose != 0 {
		return u.stepClose(s, r)
	}
	if r.carry != nil && r.state&inReceive == 0 && !u.stepCarry(s, r) {
		return false
	}
	if r.state&wantReady != 0 && !u.poll(s, r, kindPollIn, unix.POLLIN|unix.POLLRDHUP) {
		return false
	}
	if r.state&(wantLeft|inPollLeft) == wantLeft && !u.poll(s, r, kindPollLeft, unix.POLLRDHUP) {
		return false
	}
	if r.state&(wantLeft|inPollLeft|cancelPollLeft) == inPollLeft && !u.cancel(s, r, kindPollLeft) {
		return false
	}
	switch {
	case r.state&(wantAccept|inAccept) == wantAccept:
		e, _ := u.ring.next()
		if e == nil {
			return false
		}
		e.opcode, e.fd, e.ioprio, e.opFlags = opAccept, r.fd, acceptMultishot, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC
		u.begin(e, r, s, kindAccept)
	case r.state&(wantAccept|inAccept|cancelAccept) == inAccept:
		if !u.cancel(s, r, kindAccept) {
			return false
		}
	case r.state&(wantReceive|inReceive|ended|starved) == wantReceive && r.carry == nil:
		e, _ := u.ring.next()
		if e == nil {
			return false
		}
		e.opcode, e.fd, e.flags, e.bufGroup = opRecv, r.fd, sqeBufferSelect, lentGroup
		if u.plenty() {
			e.ioprio = recvMultishot
		} else {
			e.len = uint32(u.size)
		}
		u.begin(e, r, s, kindReceive)
	case r.state&(inReceive|cancelReceive) == inReceive && (r.state&wantReceive == 0 || r.carry != nil):
		if !u.cancel(s, r, kindReceive) {
			return false
		}
	}
	if r.out.n > 0 && r.state&(inSend|failed) == 0 {
		return u.stepSend(s, r)
	}
	return true
}

func (u *uring) stepSend(s Socket, r *record) bool {
	e, a := u.ring.next()
	if e == nil {
		return false
	}
	e.fd, e.opFlags = r.fd, unix.MSG_NOSIGNAL
	if r.out.n == 1 {
		b := u.Bytes(r.out.head)[r.out.off:u.fill[r.out.head]]
		e.opcode, e.addr, e.len = opSend, uint64(uintptr(unsafe.Pointer(&b[0]))), uint32(len(b))
	} else {
		a.msg = unix.Msghdr{Iov: &a.iov[0]}
		a.msg.SetIovlen(r.out.vector(u.buffers, a.iov[:]))
		e.opcode, e.addr, e.len = opSendmsg, uint64(uintptr(unsafe.Pointer(&a.msg))), 1
	}
	u.begin(e, r, s, kindSend)
	return true
}

// stepCarry moves a carried stream on, and waits by a poll for what it finds not ready.
func (u *uring) stepCarry(s Socket, r *record) bool {
	if r.state&ended != 0 { // while it settled
		u.part(&u.bulk, s)
		return true
	}
	c := r.carry
	to := u.at(c.sink)
	if to.state&(wantClose|failed) != 0 { // the end of both is near
		return true
	}
	if to.out.n > 0 || to.state&inSend != 0 { // what was received before goes first; its send nudges
		c.blocked = true
		return true
	}
	if !c.moving {
		c.moving = true
		r.ready, to.ready = readable, writable // until a splice disproves it
	}
	m := u.bulk.move(r, to)
	u.tell(s, r, to, m)
	switch {
	case r.carry == nil || m.sink != 0:
	case m.progress:
		u.again = append(u.again, s)
	case c.blocked:
		return u.poll(c.sink, to, kindPollOut, unix.POLLOUT)
	case c.inside == 0 && r.ready&readable == 0:
		return u.poll(s, r, kindPollIn, unix.POLLIN|unix.POLLRDHUP)
	}
	return true
}

// poll waits for readiness once.
func (u *uring) poll(s Socket, r *record, k kind, events uint32) bool {
	if r.state&k.inFlight() != 0 {
		return true
	}
	e, _ := u.ring.next()
	if e == nil {
		return false
	}
	e.opcode, e.fd, e.opFlags = opPollAdd, r.fd, events
	u.begin(e, r, s, k)
	return true
}

// tell reports what a step of a carried stream came to.
func (u *uring) tell(s Socket, r, to *record, m moved) {
	if m.sent > 0 {
		count(&u.stats.Spliced, m.sent)
		u.report(to, Sent, int32(m.sent), false, noBuffer)
		u.local[len(u.local)-1].Unread = true
	}
	if m.sink != 0 {
		to.state |= failed
		u.report(to, Sent, -int32(m.sink), false, noBuffer)
	}
	switch {
	case m.ended || m.source != 0:
		u.part(&u.bulk, s)
		r.state |= ended
		u.report(r, Received, -int32(m.source), false, noBuffer)
	case m.settled:
		u.part(&u.bulk, s)
		u.mark(s, r)
	}
}

// stepClose cancels what is in flight and closes the descriptor once nothing is: a pending operation holds the file
// open, and would work on a stranger's if the number were used again.
func (u *uring) stepClose(s Socket, r *record) bool {
	u.sever(&u.bulk, s)
	for k := kindAccept; k <= kindPollLeft; k++ {
		if in := k.inFlight(); r.state&(in|in<<cancelShift) == in && !u.cancel(s, r, k) {
			return false
		}
	}
	if r.state&inFlight != 0 {
		return true
	}
	r.out.drop(u.buffers)
	if r.state&abort != 0 {
		sock.AbortOnClose(int(r.fd))
	}
	closeFD(int(r.fd))
	u.report(r, Closed, 0, false, noBuffer)
	r.state &^= dirty
	u.detach(s)
	return true
}
