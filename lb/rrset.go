package lb

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
)

// rrset is what one backend believes about one (name, type), made from the answers over time. It is where facts become
// intent: an empty answer is held, a failure changes nothing, a record that is missing may be kept for a while.
//
// Each family of a name has its own, as have the SRV records of a service and each family of each of its targets, so that
// one never harms the other. It is not safe for concurrent use.
type rrset struct {
	rule answerRule

	inForce    []dnswatch.Record             // sorted, without TTL; what the backend has now
	missing    map[dnswatch.Record]time.Time // by identity: in force but not in the last answer, since when
	known      bool                          // some answer said what is, be it nothing
	empties    int                           // empty answers in a row
	emptySince time.Time                     // the first of them; zero if the last final answer was not empty
	failing    time.Time                     // since when nothing but failures came; zero otherwise
}

// answerRule is the part of a backend's config that decides what an answer does.
type answerRule struct {
	onEmpty    string        // hold, keep, remove
	emptyHold  time.Duration // with hold
	absentHold time.Duration
	onError    string        // keep, remove
	maxStale   time.Duration // 0 is for ever
	allowed    func(netip.Addr) bool
}

// minEmpties is how many empty answers in a row it takes, besides empty_hold, before a set is emptied: one lost race in
// an authority's update is not a decision.
const minEmpties = 2

// identity is what makes a record the same one when its priority or weight changes.
func identity(r dnswatch.Record) dnswatch.Record {
	return dnswatch.Record{Addr: r.Addr, Target: r.Target, Port: r.Port}
}

func compareRecords(a, b dnswatch.Record) int {
	return cmp.Or(a.Addr.Compare(b.Addr), strings.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Weight, b.Weight))
}

// take applies one answer. It returns the addresses that the rule forbids; those of /etc/hosts and literals are the
// operator's own words and are not asked about.
func (r *rrset) take(a dnswatch.Answer, now time.Time) (filtered []netip.Addr) {
	switch a.Kind {
	case dnswatch.KindOK:
		records, filtered := r.permitted(a.Records, a.Local)
		if len(records) == 0 { // everything was forbidden: an answer that cannot be used is a failure
			r.fail(now)
			return filtered
		}
		r.replace(records, now)
		return filtered
	case dnswatch.KindNoData, dnswatch.KindNXDomain:
		r.empty(now)
	default:
		r.fail(now)
	}
	return nil
}

// permitted divides records by the rule. SRV records have no address yet.
func (r *rrset) permitted(records []dnswatch.Record, local bool) (kept []dnswatch.Record, filtered []netip.Addr) {
	for _, rec := range records {
		if rec.Port == 0 && !local && !r.rule.allowed(rec.Addr) {
			filtered = append(filtered, rec.Addr)
			continue
		}
		rec.TTL = 0
		kept = append(kept, rec)
	}
	return kept, filtered
}

// hint gives addresses that came along with another answer. They hold until there is an answer of this set's own, and are
// never the operator's words.
func (r *rrset) hint(addrs []dnswatch.Record) {
	if r.known || !r.emptySince.IsZero() {
		return
	}
	if kept, _ := r.permitted(addrs, false); len(kept) > 0 {
		slices.SortFunc(kept, compareRecords)
		r.inForce = kept
	}
}

func (r *rrset) fail(now time.Time) {
	if r.failing.IsZero() {
		r.failing = now
	}
	if r.rule.onError == "remove" {
		r.inForce, r.missing = nil, nil
	}
}

func (r *rrset) replace(records []dnswatch.Record, now time.Time) {
	missing := make(map[dnswatch.Record]time.Time)
	if r.known && r.rule.absentHold > 0 {
		present := make(map[dnswatch.Record]bool, len(records))
		for _, rec := range records {
			present[identity(rec)] = true
		}
		for _, old := range r.inForce {
			if id := identity(old); !present[id] {
				since, again := r.missing[id]
				if !again {
					since = now
				}
				missing[id] = since
				records = append(records, old)
			}
		}
	}
	r.known, r.empties, r.emptySince, r.failing = true, 0, time.Time{}, time.Time{}
	slices.SortFunc(records, compareRecords)
	r.inForce, r.missing = slices.Compact(records), missing
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
	for id, since := range r.missing {
		due := since.Add(r.rule.absentHold)
		if now.Before(due) {
			next = sooner(next, due)
			continue
		}
		delete(r.missing, id)
		r.inForce = slices.DeleteFunc(r.inForce, func(rec dnswatch.Record) bool { return identity(rec) == id })
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

// staleDue is when failures have lasted for max_stale; zero if the last answer was none, or the set is good for ever.
func (r *rrset) staleDue() time.Time {
	if r.failing.IsZero() || r.rule.maxStale == 0 || len(r.inForce) == 0 {
		return time.Time{}
	}
	return r.failing.Add(r.rule.maxStale)
}

// stale tells that nothing but a health check vouches for the set any more.
func (r *rrset) stale(now time.Time) bool {
	due := r.staleDue()
	return !due.IsZero() && !now.Before(due)
}

// barren tells that there is no record, by an answer and not only for want of one: the authority says so,
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
