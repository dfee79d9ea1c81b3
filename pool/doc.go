// Package pool is the epoch table: the peers of one pool, published as immutable snapshots that free themselves.
//
//	r := pool.NewReclaimer()
//	defer r.Close()
//	t := pool.New(pool.Options{Name: "db", Slots: 2}, r)
//	t.Apply([]pool.Member{{Addr: netip.MustParseAddrPort("192.0.2.1:5432"), Weight: 1}}, pool.CauseDNS)
//	lease, err := t.Acquire(pool.Request{Slot: 0})
//	// connect to lease.Peer().Addr(), then lease.Connected(took), relay, and at the end:
//	lease.Release(pool.OutcomeOK)
//
// # Model
//
// A [Table] holds one current epoch and any number of retired ones. An epoch lists members in canonical order (by
// address) and whatever the balance policy prebuilds; nothing in it changes after publication. A [Peer] is keyed by its
// address and is shared by all epochs that list it, so its counts survive every change. A [Lease] is a reference on one
// epoch and one peer, taken by Acquire and given back by Release.
//
// Readers (Acquire, Release) never lock, never allocate and never wait. Writers (Apply, SetHealth, Close) serialise on a
// mutex that readers never take; a release that reports the failure that may eject its peer takes a short lock of its own,
// which no writer holds. A writer builds the next epoch completely, publishes it with one atomic store, then
// marks the old one retired. A change of health publishes an epoch too, so that prebuilt data is always exact; ejection,
// limits and exclusions are decided at the pick, through the peer.
//
// What an operator says of an address (SetAdmin, SetWeight) is kept by the table, not by members or epochs: it holds
// until it is taken back, also for an address that leaves and comes back. It publishes an epoch, too.
//
// Members have tiers. The lowest tier with a member that has weight, is not down and was taken out by nobody serves, all
// of it; the others stand by, and a pick never sees them. Only membership, weight, health and operators move service from
// one tier to another, at once and in both directions, each by an epoch. Ejections and limits do not: they come and go with the load, and service would
// flap between tiers that often are not meant to serve together.
//
// # What slots know of each other
//
// A line that two cores write takes about 100 ns to go from one to the other, so an order that is exact between slots at
// every pick costs that at every pick. Slots therefore count for themselves:
//
//   - leastconn adds to a slot's own leases, which it knows exactly, what the other slots had when it last looked. It looks
//     if that was more than 100 µs ago (more among many peers and slots: 5 µs for each count, at most 100 ms), and at its
//     first pick of an epoch. At up to 10,000 picks a second per slot the comparison is exact; in a tighter burst it is off
//     by what the other slots began and ended since the last look. What connects take is looked at then, too, for least_time.
//   - roundrobin deals turns from one counter. A slot that comes back to it within 10 µs takes eight turns at once and plays
//     them first. Every turn is played exactly once; a slot that falls silent after a burst keeps at most seven.
//   - MaxConns is exact, always: all slots then count on one word for each peer, and picks at once on several cores take as
//     long as its line needs between them. So is MaxTotal, with one word for the table. When such a limit comes while there
//     are leases that were counted otherwise, it counts those, too, as long as their epochs live.
//
// # Why the reclaimer may trust a zero
//
// An epoch counts its references in (the low half of) one padded word per slot, so that no word is written by every core.
// Acquire increments its slot's word and then reads the retired mark; if the epoch is retired it undoes the increment on
// the same word and loads the newer epoch, which exists because publication comes before retirement. A release decrements
// the word that its acquire incremented. So once the mark is set, no reference that counts can begin: every increment that
// saw the mark unset came before the mark, and is in the word until its release. Words are never negative. A reclaimer
// that, after the mark, has read zero from each word, at whatever different moments, has therefore seen that no reference
// is left. Whoever brings a word of a retired epoch to zero wakes the reclaimer, and the writer wakes it after the mark,
// so no last release is missed.
//
// # Invariants
//
//	I1  no peer is used after it ended (OnGone)
//	I2  at rest the references are zero and every retired epoch is freed
//	I3  an epoch is freed once, a peer ends once
//	I4  an acquire fails only if the newest epoch has no peer to give, never because an epoch changed under it: a pick that
//	    found none while a newer epoch was published picks again
//	I5  an epoch is published before the older one is retired
//	I6  Active of a peer equals its leases; it is never negative, and nothing clamps it
//	I7  MaxConns holds for an address across all epochs, and MaxTotal for all addresses
//	I8  a pick tries each peer at most once while nothing changes
//
// # What it does not do
//
// It opens no sockets, resolves no names, probes nothing and logs nothing: it is told members and health, and answers
// with leases.
package pool
