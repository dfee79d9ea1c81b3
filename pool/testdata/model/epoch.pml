/*
 * The life of an epoch: enter, leave, publish, retire, sweep, free (epoch.go, table.go, reclaimer.go), step by step as the
 * code's atomic operations are. Readers come on SLOTS slots; with -DSHARED all of them use slot 0. Go's atomics are
 * sequentially consistent, so that interleaving is all there is to check.
 *
 * Asserted: nothing is used after it was freed; each epoch is freed once; counts are never negative; who finds an epoch
 * retired finds a newer one; an acquire fails only if the newest epoch was empty at some moment of it; at rest all references
 * are zero and every retired epoch is freed.
 *
 * Each -DBUG_ below is one way to get it wrong; .ci/model expects an error from each.
 *
 * Also: -DSHARED -DUPDATES=1; -DLEASES=2 -DUPDATES=1
 */
#ifndef READERS
#define READERS 2
#endif
#ifndef UPDATES
#define UPDATES 2
#endif
#ifndef LEASES
#define LEASES 1
#endif
#define SLOTS 2
#define EPOCHS (UPDATES + 1)
#define REF(e, s) refs[(e) * SLOTS + (s)]

byte current;                 /* t.current */
bool filled[EPOCHS];          /* the epoch lists a peer */
bool retired[EPOCHS];
short refs[EPOCHS * SLOTS];
bool waiting[EPOCHS];         /* handed to the reclaimer */
bool wake;                    /* a channel with room for one */
bool condemned[EPOCHS];       /* BUG_SUM only */

byte freed[EPOCHS];           /* from here on: what the assertions need */
bool sawEmpty[READERS];
byte finished;
bool asleep;

inline leave(e, s) {
#if defined(BUG_CHECK)          /* the mark is read before the decrement */
	mark = retired[e];
	atomic { REF(e, s)--; n = REF(e, s) };
	assert(n >= 0);
	if :: n == 0 && mark -> wake = 1 :: else fi;
#else
#if defined(BUG_ASSIGN)         /* n = refs--; refs = n */
	n = REF(e, s) - 1;
#else
	atomic { REF(e, s)--; n = REF(e, s) };
#endif
	assert(n >= 0);
#ifndef BUG_WAKE                /* nobody is told that a slot came to zero */
	if :: n == 0 && retired[e] -> wake = 1 :: else fi;
#endif
#endif
	skip
}

proctype Reader(byte id; byte slot) {
	byte e, lease;
	short n;
	bool mark;
	do
	:: lease == LEASES -> break
	:: else ->
		lease++;
		atomic { sawEmpty[id] = !filled[current] };
again:		e = current;
		REF(e, slot)++;
#ifndef BUG_BLIND               /* the mark is not read after the increment */
		if
		:: !retired[e]
		:: else ->
			assert(current != e);
#ifdef BUG_UNDO                 /* an increment that is undone tells nobody */
			REF(e, slot)--;
#else
			leave(e, slot);
#endif
			goto again
		fi;
#endif
#ifdef BUG_GEN                  /* an epoch that is no longer the newest counts as busy */
		if
		:: current == e
		:: else -> leave(e, slot); assert(sawEmpty[id]); goto next
		fi;
#endif
		assert(!freed[e]);              /* the pick reads what the epoch lists */
		if
		:: filled[e]
		:: else ->
			if
			:: current == e -> leave(e, slot); assert(sawEmpty[id]); goto next
			:: else -> leave(e, slot); goto again
			fi
		fi;
		assert(!freed[e]);              /* the session lives */
#if defined(BUG_LOST)           /* a path without release */
		if :: skip -> goto next :: skip fi;
#endif
#if defined(BUG_CURRENT)        /* the release goes to the epoch that is current by then */
		e = current;
#endif
#if defined(BUG_SLOT)           /* or to another slot */
		leave(e, 1 - slot);
#else
		leave(e, slot);
#endif
#if defined(BUG_DOUBLE)
		leave(e, slot);
#endif
next:		atomic { e = 0; n = 0 }
	od;
	finished++
}

proctype Writer() {
	byte i, id;
	byte old;
	for (i : 1 .. UPDATES) {
		old = i - 1;
		if :: filled[i] = 1 :: filled[i] = 0 fi;
#ifdef BUG_ORDER                /* retire, then publish */
		retired[old] = 1;
#endif
#ifdef BUG_SUM                  /* the sum is read before the mark */
		if :: REF(old, 0) == 0 && REF(old, 1) == 0 -> condemned[old] = 1 :: else fi;
#endif
		atomic {
			current = i;
			if :: !filled[i] -> for (id : 0 .. READERS - 1) { sawEmpty[id] = 1 } :: else fi
		};
		retired[old] = 1;
#ifdef BUG_HANDOVER             /* the wake comes before there is something to see */
		wake = 1;
		waiting[old] = 1;
#else
		waiting[old] = 1;
		wake = 1;
#endif
	}
	finished++
}

proctype Reclaimer() {
	byte e, s;
end:	do
	:: atomic { wake -> asleep = 0;
#ifndef BUG_CLEAR               /* the wake is taken after the sweep, with all that came during it */
		wake = 0
#endif
	   };
		e = 0;
		do
		:: atomic { e < EPOCHS && !waiting[e] -> e++ }
		:: atomic { e < EPOCHS && waiting[e] && (s == SLOTS || condemned[e]) ->
			waiting[e] = 0; freed[e]++; assert(freed[e] == 1); e++; s = 0 }
		:: atomic { e < EPOCHS && waiting[e] && s < SLOTS && !condemned[e] ->      /* one word at a time */
			if :: REF(e, s) == 0 -> s++ :: else -> e++; s = 0 fi }
		:: e == EPOCHS -> break
		od;
		atomic {
#ifdef BUG_CLEAR
			wake = 0;
#endif
			asleep = 1;
			e = 0
		}
	od
}

/* At rest nothing can move any more. */
proctype Rest() {
	byte e;
	finished == READERS + 1 && !wake && asleep;
	for (e : 0 .. EPOCHS - 1) {
		assert(REF(e, 0) == 0 && REF(e, 1) == 0);
		assert(freed[e] == (e < current))
	}
}

init {
	byte i;
	atomic {
		asleep = 1;
		filled[0] = 1;
		for (i : 0 .. READERS - 1) {
#ifdef SHARED
			run Reader(i, 0)
#else
			run Reader(i, i % SLOTS)
#endif
		};
		run Writer();
		run Reclaimer();
		run Rest()
	}
}
