/*
 * One direction of a session on the uring engine whose stream is received, becomes bulk and is carried by splice(2), and is
 * received again (carry.go, uring.go), with the part of the relay that sends, pauses and passes the end on (relay/carried.go).
 * Every byte is a buffer; a receive takes one, a splice all there are.
 *
 * Asserted: the sink gets the bytes in order, none twice; the end is passed on once, and only when all bytes are; at rest, it
 * was passed on, no pipe is lent and nothing is in flight.
 *
 * Also: -DBYTES=6
 */
#ifndef BYTES
#define BYTES 4
#endif
#define ROOM 2                  /* bytes that the sink's socket takes before its reader must read */
#define ENOUGH 2                /* queued buffers at which the source is paused */

/* The two sockets. */
byte arrived, taken;            /* at the source's; of those, read */
bool fin;                       /* behind the last */
byte put, unread;               /* into the sink's; of those, not read by its reader */

/* What the kernel has in hand, and what it has to tell. */
bool receiving, canceling, sending, pollin, pollout;
mtype = { Received, Canceled, Missed, Sent, PollIn, PollOut };
chan cq = [12] of { mtype, byte, bool };        /* result, more */

/* The engine. */
bool dirtySource, dirtySink;    /* marked */
bool wantReceive, inReceive, cancelReceive, ended, inSend, inPollIn, inPollOut;
bool carried, moving, blocked, readable, writable, lent;
byte pipeFirst, inside;
chan queue = [BYTES] of { byte };
byte queued;                    /* until their send completes */
chan out = [12] of { mtype, byte };             /* completions for the relay: Received (0 is the end), Sent */

/* The relay. */
bool eof, passed, paused;

/* The network and the sink's reader. */
active proctype World() {
end:	do
	:: atomic { arrived < BYTES -> arrived++ }
	:: atomic { arrived == BYTES && !fin -> fin = true }
	:: atomic { unread > 0 -> unread = 0 }
	od
}

active proctype Kernel() {
	byte b;
end:	do
	:: atomic { receiving && arrived > taken ->
		taken++;
		if
		:: cq!Received(taken, true)
		:: cq!Received(taken, false); receiving = false /* a multishot may end with any */
		fi }
	:: atomic { receiving && arrived == taken && fin -> cq!Received(0, false); receiving = false }
	:: atomic { canceling ->
		canceling = false;
		if
		:: receiving -> cq!Canceled(0, false); receiving = false
		:: else -> cq!Missed(0, false)
		fi }
	:: atomic { sending && unread < ROOM ->
		queue?b;
		assert(b == put + 1);   /* in order, none twice */
		put++; unread++;
		sending = false;
		cq!Sent(1, false) }
	:: atomic { pollin && (arrived > taken || fin) -> pollin = false; cq!PollIn(0, false) }
	:: atomic { pollout && unread < ROOM -> pollout = false; cq!PollOut(0, false) }
	od
}

inline release() {
	assert(inside == 0);            /* it goes back to the pool */
	lent = false
}

inline part() { release(); carried = false; moving = false; blocked = false; dirtySource = true }

inline nudge() {
#ifndef BUG_NUDGE
	if :: carried && blocked -> blocked = false; dirtySource = true :: else fi
#else
	skip
#endif
}

inline move() {
	blocked = false;
	go = true;
	if
	:: inside == 0 && readable ->
		lent = true;
		if
		:: arrived > taken -> pipeFirst = taken + 1; inside = arrived - taken; taken = arrived
		:: arrived == taken && fin ->                /* ended */
			part(); ended = true; out!Received(0); go = false
		:: arrived == taken && !fin -> readable = false; release()
		:: part(); go = false                        /* no pipe, no memory: settled */
		fi
	:: else
	fi;
	if
	:: go && inside > 0 && writable ->
		if
		:: unread < ROOM ->
			do
			:: inside > 0 && unread < ROOM ->
				assert(pipeFirst == put + 1);
				put++; unread++; pipeFirst++; inside--
			:: else -> break
			od;
			out!Sent(1)
		:: else -> writable = false
		fi
	:: else
	fi;
	if
#ifndef BUG_FULL
	:: go && inside == 0 -> part(); go = false           /* small */
#else                           /* received again while the pipe holds bytes */
	:: go -> carried = false; moving = false; dirtySource = true; go = false
#endif
	:: skip
	fi;
	if
	:: go && (inside == 0 && readable || inside > 0 && writable) -> dirtySource = true
	:: go && inside > 0 && !writable ->
#ifndef BUG_NUDGE
		blocked = true;
#endif
		if :: !inPollOut -> inPollOut = true; pollout = true :: else fi
	:: go && inside == 0 && !readable ->
		if :: !inPollIn -> inPollIn = true; pollin = true :: else fi
	:: else
	fi
}

inline stepSource() {
	dirtySource = false;
	if
#ifndef BUG_OVERTAKE
	:: carried && !inReceive ->
#else                           /* spliced while a receive may still bring what stands before */
	:: carried ->
#endif
		if
#ifndef BUG_ENDED               /* spliced although a receive has told the end */
		:: ended -> part()
#endif
#ifdef BUG_ENDED
		:: ended && queued == 0 && !inSend -> move()
		:: ended && (queued > 0 || inSend) -> blocked = true
#endif
#ifndef BUG_SETTLE
		:: !ended && (queued > 0 || inSend) -> blocked = true
		:: !ended && queued == 0 && !inSend ->
#else                           /* spliced past what waits in the queue */
		:: !ended ->
#endif
			if :: !moving -> moving = true; readable = true; writable = true :: else fi;
			move()
		fi
	:: else
	fi;
	if
	:: wantReceive && !inReceive && !ended && !carried -> inReceive = true; receiving = true
	:: inReceive && !cancelReceive && (!wantReceive || carried) -> cancelReceive = true; canceling = true
	:: else
	fi
}

inline stepSink() {
	dirtySink = false;
	if :: queued > 0 && !inSend -> inSend = true; sending = true :: else fi
}

inline complete(op, res, more) {
	if
	:: op == Received || op == Canceled ->
		if :: !more -> inReceive = false; cancelReceive = false; dirtySource = true :: else fi;
		if
		:: op == Received ->
			if :: res == 0 -> ended = true :: else fi;
			out!Received(res)
		:: else
		fi
	:: op == Missed -> cancelReceive = false; dirtySource = true
	:: op == Sent -> inSend = false; dirtySink = true; queued--; nudge(); out!Sent(res)
	:: op == PollIn -> inPollIn = false; readable = true; dirtySource = true
	:: op == PollOut -> inPollOut = false; writable = true; dirtySink = true; nudge()
	fi
}

inline pass() {
	if
#ifndef BUG_EOF
	:: eof && !passed && queued == 0 && inside == 0 ->
#else                           /* passed on while bytes wait to be sent */
	:: eof && !passed ->
#endif
		assert(put == BYTES);
		passed = true
	:: else
	fi
}

inline take(op, res) {
	if
	:: op == Received && res > 0 ->
		queue!res;
		queued++; dirtySink = true;
		if
		:: !paused && !carried -> carried = true; dirtySource = true; dirtySink = true
		:: !paused && queued >= ENOUGH -> paused = true; wantReceive = false; dirtySource = true
		:: paused || queued < ENOUGH
		fi
	:: op == Received && res == 0 ->
		assert(!eof);
		eof = true; pass()
	:: op == Sent ->
		if :: paused && queued <= ENOUGH / 2 -> paused = false; wantReceive = true; dirtySource = true :: else fi;
		pass()
	fi
}

active proctype Loop() {
	mtype op;
	byte res;
	bool more, go;
	atomic { wantReceive = true; dirtySource = true };
end:	do
	:: atomic { dirtySource || dirtySink || len(cq) > 0 ->
		/* A turn. Each splice is one atomic step, like a call; so the whole is. */
		if :: dirtySource -> stepSource() :: else fi;
		if :: dirtySink -> stepSink() :: else fi;
		op = Sent; res = 0; more = false; go = false };
	atomic {
		do
		:: len(cq) > 0 -> cq?op(res, more); complete(op, res, more)
		:: else -> break
		od;
		do
		:: len(out) > 0 -> out?op(res); take(op, res)
		:: else -> break
		od;
		op = Sent; res = 0; more = false; go = false }
	od
}

active proctype Rest() {
	timeout;
	assert(passed && put == BYTES);
	assert(!lent && !receiving && !sending && !carried)
}
