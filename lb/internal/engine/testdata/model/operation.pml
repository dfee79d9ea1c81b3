/*
 * A multishot receive of the uring engine from arming to the re-use of its descriptor and its record (uring.go,
 * uring_complete.go). The caller asks for bytes, pauses, closes, and attaches the next file, which gets the same number and
 * the same record. The kernel keeps operations by user data, here the record's generation, and a cancel finds them by it.
 *
 * Asserted: a file is closed once, with no operation on it in flight (E1); a completion reaches only the owner of the file
 * that it is about (E2), and a cancel
 * only the operation that it is meant for; a file has one receive at most (E3); at rest all buffers are where they
 * belong (E4), every close was reported once (E5), and what is in flight is what is wanted.
 *
 * Also: -DFILES=3
 */
#ifndef FILES
#define FILES 2
#endif
#define BUFFERS 3
#define ASKS 3                  /* changes of mind for each file */
#define ARRIVALS 2              /* for each file */

byte file;                      /* that has the number; 0: none */
byte lent = BUFFERS, free;

byte opFile, opGen;             /* in the kernel's hands; 0: none */
chan cancels = [6] of { byte, byte };           /* on their way: generation of the target, file that it is meant for */
byte already = 2;               /* cancels that come while their target runs */
byte arrivals[FILES + 1];
mtype = { Data, Canceled, Missed };
chan cq = [10] of { mtype, byte, byte, bool };  /* generation, file, more */

byte gen = 1;
bool wantReceive, inReceive, cancelReceive, wantClose, dirty;
byte asked, closes[FILES + 1], closed[FILES + 1], attached;

active proctype Kernel() {
	byte g, f;
end:	do
	:: atomic { lent > 0 && opFile && arrivals[opFile] ->
		arrivals[opFile]--;
		lent--;
		if
		:: cq!Data(opGen, opFile, true)
		:: cq!Data(opGen, opFile, false); opFile = 0; opGen = 0
		fi }
	:: atomic { cancels?g(f) ->
		if
		:: opFile && opGen == g -> assert(opFile == f); cq!Canceled(g, f, false); opFile = 0; opGen = 0
		:: opFile && opGen == g && already -> already--; cq!Missed(g, 0, false)
		:: !opFile || opGen != g -> cq!Missed(g, 0, false)
		fi; g = 0; f = 0 }
	od
}

inline arm() {
	assert(!opFile);
	inReceive = true; opFile = file; opGen = gen
}

inline step() {
	dirty = false;
	if
	:: inReceive && !cancelReceive && (wantClose || !wantReceive) -> cancelReceive = true; cancels!gen(file)
	:: else
	fi;
	if
#ifndef BUG_CLOSE
	:: wantClose && !inReceive ->
#else                           /* closed while an operation holds the file */
	:: wantClose ->
#endif
		assert(file && opFile != file);
		closed[file]++;
		file = 0;
		wantReceive = false; inReceive = false; cancelReceive = false; wantClose = false;
#ifndef BUG_GENERATION          /* what comes late is taken to be about what the record is now */
		gen++
#else
		skip
#endif
#ifndef BUG_REARM
	:: !wantClose && wantReceive && !inReceive -> arm()
#else                           /* the cancel is taken for done when it is asked for */
	:: !wantClose && wantReceive && (!inReceive || cancelReceive) -> cancelReceive = false; arm()
#endif
	:: else
	fi
}

inline complete(op, g, f, more) {
	if
	:: op == Missed ->
#ifndef BUG_MISSED              /* a cancel that did nothing is taken for one that works */
		if :: g == gen && cancelReceive -> cancelReceive = false; dirty = true :: else fi
#else
		skip
#endif
	:: op != Missed ->
		if
		:: g != gen ->
			if :: op == Data -> free++ :: else fi
		:: else ->
			if
#ifndef BUG_MORE                /* the first completion of a multishot is taken for its last */
			:: more
#endif
			:: else -> inReceive = false; cancelReceive = false; dirty = true
			fi;
			if
#ifndef BUG_DISCARD
			:: op == Data && wantClose -> free++
#else                           /* dropped, with the buffer that it brought */
			:: op == Data && wantClose
#endif
			:: op == Data && !wantClose -> assert(f == file); free++
#ifdef BUG_CANCELED             /* taken for the end of the stream */
			:: op == Canceled && !wantClose -> wantReceive = false
			:: op == Canceled && wantClose
#else
			:: op == Canceled
#endif
			fi
		fi
	fi
}

bool wish;                      /* what the caller wants, whatever the engine made of it */

active proctype Loop() {
	mtype op;
	byte g, f;
	bool more;
end:	do
	:: atomic { file == 0 && attached < FILES ->
		attached++;
		file = attached; arrivals[file] = ARRIVALS; asked = 0; wish = false }
	:: atomic { file && !wantClose && asked < ASKS ->
		asked++; dirty = true;
		if
		:: wish = !wish; wantReceive = wish
		:: wantClose = true; closes[file]++; wish = false
		fi }
	:: atomic { dirty -> step() }
	:: atomic { cq?op(g, f, more) -> complete(op, g, f, more); op = Data; g = 0; f = 0; more = false }
	:: atomic { free > 0 -> lent = lent + free; free = 0 }
	od
}

active proctype Rest() {
	byte i;
	timeout;
	assert(lent + free == BUFFERS);
	for (i : 1 .. FILES) { assert(closed[i] == closes[i]) };
	assert(wish == (opFile != 0))
}
