/*
 * The life of a peer: listed by epochs, kept by leases on any of them, ended by the reclaimer when the last epoch that lists
 * it is freed, and an address that comes back meanwhile (newEpoch, free). That an epoch with references is not freed is what
 * epoch.pml shows; here entering and leaving are single steps, and what the writers' lock guards is one step too.
 *
 * Asserted: no lease is on a peer that ended; a peer ends once; an epoch never lists a peer that ended or is ending; an address
 * has no two peers with leases; at rest the table knows exactly the peers that the newest epoch lists.
 */
#ifndef UPDATES
#define UPDATES 3
#endif
#define READERS 2
#define ADDRS 2
#define EPOCHS (UPDATES + 1)
#define OBJECTS (UPDATES * ADDRS + 1)   /* 0 is none */
#define LISTED(e, a) listed[(e) * ADDRS + (a)]

byte current;
byte refs[EPOCHS];
bool retired[EPOCHS], freed[EPOCHS];
byte listed[EPOCHS * ADDRS];    /* the peer by which an epoch lists an address */
byte known[ADDRS];              /* t.peers */
byte listings[OBJECTS];
byte home[OBJECTS];             /* the address of a peer */
byte made;

byte leases[OBJECTS], ended[OBJECTS];
bool ending[OBJECTS];
byte finished;

inline list(e, a) {
	if
	:: known[a] == 0 ->
		made++;
		for (o : 1 .. made - 1) { assert(home[o] != a || leases[o] == 0) };
		home[made] = a;
		known[a] = made
	:: else
	fi;
	assert(!ending[known[a]] && !ended[known[a]]);
	LISTED(e, a) = known[a];
#ifndef BUG_LATE
	listings[known[a]]++
#endif
}

proctype Writer() {
	byte i, o, a;
	for (i : 1 .. UPDATES) {
		atomic {
			if :: list(i, 0) :: skip fi;
			if :: list(i, 1) :: skip fi;
			current = i;
			retired[i - 1] = 1;
			o = 0
		};
#ifdef BUG_LATE                 /* listed in an epoch before it is counted */
		atomic { for (a : 0 .. ADDRS - 1) { if :: LISTED(i, a) -> listings[LISTED(i, a)]++ :: else fi } };
#endif
#ifdef BUG_DROP                 /* what the newest epoch does not list ends, whoever holds it */
		for (a : 0 .. ADDRS - 1) {
			atomic {
				o = LISTED(i - 1, a);
				if :: o && !LISTED(i, a) && !ended[o] -> known[a] = 0; ended[o]++ :: else fi
			}
		};
#endif
	}
	atomic { a = 0; finished++ }
}

proctype Reader() {
	byte e, p;
	atomic { e = current; refs[e]++ };
	atomic {
		if
		:: LISTED(e, 0) -> p = LISTED(e, 0)
		:: LISTED(e, 1) -> p = LISTED(e, 1)
		:: else -> p = 0
		fi;
		leases[p]++;
		assert(!ended[p] && !ending[p])
	};
	atomic { assert(!ended[p] && !ending[p]); leases[p]-- };
	atomic { refs[e]--; p = 0; e = 0; finished++ }
}

proctype Reclaimer() {
	byte e, a, o;
	byte gone[ADDRS];
end:	do
	:: atomic {
		if
		:: retired[0] && refs[0] == 0 && !freed[0] -> e = 0
		:: retired[1] && refs[1] == 0 && !freed[1] -> e = 1
		:: retired[2] && refs[2] == 0 && !freed[2] -> e = 2
		:: retired[3] && refs[3] == 0 && !freed[3] -> e = 3
		fi;
		freed[e] = 1;
		for (a : 0 .. ADDRS - 1) {
			o = LISTED(e, a);
			if
			:: o ->
#ifdef BUG_EARLY                /* ends with the first epoch that is freed, not the last */
				listings[o] = 0;
#else
				listings[o]--;
#endif
				if
				:: listings[o] == 0 ->
#if !defined(BUG_STAY) && !defined(BUG_UNLOCKED) /* BUG_STAY: an ended peer stays known */
					known[a] = 0;
#endif
					ending[o] = 1;
					gone[a] = o
				:: else
				fi
			:: else
			fi
		}
	   };
		for (a : 0 .. ADDRS - 1) {      /* OnGone, with no lock held */
			if
			:: gone[a] ->
#ifdef BUG_UNLOCKED             /* forgotten by address, after the lock */
				known[a] = 0;
#endif
				ended[gone[a]]++;
				assert(ended[gone[a]] == 1);
				gone[a] = 0
			:: else
			fi
		};
		atomic { a = 0; o = 0; e = 0 }
	od
}

proctype Rest() {
	byte i;
	finished == READERS + 1;
	timeout;
	for (i : 0 .. ADDRS - 1) { assert(known[i] == LISTED(current, i)) };
	for (i : 1 .. made) {
		assert(leases[i] == 0);
		assert(ended[i] == (known[home[i]] != i))
	}
}

init {
	atomic { run Writer(); run Reader(); run Reader(); run Reclaimer(); run Rest() }
}
