package lb

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
)

// rrset is what one backend believes about one (name, type), made from the answers over time. It is where facts become
// intent: an empty answer is held, a failure changes nothing, an address that is missing may be kept for a while.
//
// Each family of a name has its own, so that one never harms the other. It is not safe for concurrent use.
type rrset struct {
	rule answerRule

	inForce    []netip.Addr             // sorted; what the backend has now
	missing    map[netip.Addr]time.Time // in force but not in the last answer, since when
	known      bool                     // some answer said what is, be it nothing
	empties    int                      // empty answers in a row
	emptySince time.Time                // the first of them; zero if the last final answer was not empty
	failing    time.Time                // since when nothing but failures came; zero otherwise
}

// answerRule is the part of a backend's config that decides what an answer does.
type answerRule struct {
	onEmpty    string        // hold, keep, remove
	emptyHold  time.Duration // with hold
	absentHold time.Duration
	maxStale   time.Duration
	allowed    func(netip.Addr) bool
}

// minEmpties is how many empty answers in a row it takes, besides empty_hold, before a set is emptied: one lost race in
// an authority's update is not a decision.
const minEmpties = 2

// take applies one answer. It returns the addresses that the rule forbids; those of /etc/hosts and literals are the
// operator's own words and are not asked about.
func (r *rrset) take(a dnswatch.Answer, now time.Time) (filtered []netip.Addr) {
	switch a.Kind {
	case dnswatch.KindOK:
		var addrs []netip.Addr
		for _, rec := range a.Records {
			if a.Local || r.rule.allowed(rec.Addr) {
				addrs = append(addrs, rec.Addr)
			} else {
				filtered = append(filtered, rec.Addr)
			}
		}
		if len(addrs) == 0 { // everything was forbidden: an answer that cannot be used is a failure
			r.fail(now)
			return filtered
		}
		r.replace(addrs, now)
	case dnswatch.KindNoData, dnswatch.KindNXDomain:
		r.empty(now)
	default:
		r.fail(now)
	}
	return filtered
}

func (r *rrset) fail(now time.Time) {
	if r.failing.IsZero() {
		r.failing = now
	}
}

func (r *rrset) replace(addrs []netip.Addr, now time.Time) {
	r.known, r.empties, r.emptySince, r.failing = true, 0, time.Time{}, time.Time{}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	missing := make(map[netip.Addr]time.Time)
	if r.rule.absentHold > 0 {
		for _, old := range r.inForce {
			if _, found := slices.BinarySearchFunc(addrs, old, netip.Addr.Compare); !found {
				since, again := r.missing[old]
				if !again {
					since = now
				}
				missing[old] = since
			}
		}
	}
	for old := range missing {
		addrs = append(addrs, old)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	r.inForce, r.missing = addrs, missing
	r.expire(now)
}

func (r *rrset) empty(now time.Time) {
	r.failing = time.Time{}
	r.empties++
	if r.emptySince.IsZero() {
		r.emptySince = now
	}
	if r.rule.onEmpty == "remove" || len(r.inForce) == 0 {
		r.inForce, r.missing, r.known = nil, nil, true
	}
	r.expire(now)
}

// expire lets the holds run out that have. It says when it should be called next; zero means at the next answer.
func (r *rrset) expire(now time.Time) (next time.Time) {
	if due := r.emptyDue(); !due.IsZero() {
		if !now.Before(due) {
			r.inForce, r.missing, r.known = nil, nil, true
			return time.Time{}
		}
		next = due
	}
	for addr, since := range r.missing {
		due := since.Add(r.rule.absentHold)
		if now.Before(due) {
			next = sooner(next, due)
			continue
		}
		delete(r.missing, addr)
		r.inForce = slices.DeleteFunc(r.inForce, func(a netip.Addr) bool { return a == addr })
	}
	if due := r.staleDue(); now.Before(due) {
		next = sooner(next, due)
	}
	return next
}

// emptyDue is when a held set empties; zero if it does not. While questions fail it does not: what the authority would
// say now is not known, and a failure takes nothing away.
func (r *rrset) emptyDue() time.Time {
	if r.rule.onEmpty != "hold" || r.empties < minEmpties || len(r.inForce) == 0 || !r.failing.IsZero() {
		return time.Time{}
	}
	return r.emptySince.Add(r.rule.emptyHold)
}

// staleDue is when failures have lasted for max_stale; zero if the last answer was none.
func (r *rrset) staleDue() time.Time {
	if r.failing.IsZero() || len(r.inForce) == 0 {
		return time.Time{}
	}
	return r.failing.Add(r.rule.maxStale)
}

// stale tells that nothing but a health check vouches for the set any more.
func (r *rrset) stale(now time.Time) bool {
	due := r.staleDue()
	return !due.IsZero() && !now.Before(due)
}

// barren tells that there is no address of this family, by an answer and not only for want of one: the authority says so,
// holds included, or nobody has ever been able to tell. A failure that follows does not change it.
func (r *rrset) barren() bool {
	return len(r.inForce) == 0 && (r.known || !r.failing.IsZero())
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
