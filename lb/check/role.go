package check

import "time"

// Role is what a peer says it is.
type Role uint8

const (
	RoleUnknown Role = iota // it was not asked, or did not say
	Primary                 // takes writes
	Replica                 // follows a primary, read only
)

// String gives the word for logs, status and metrics; empty for RoleUnknown.
func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Replica:
		return "replica"
	}
	return ""
}

// lagging tells whether a replica is further behind than most; 0 is no limit. One that does not say how far is. Who was
// lagging has to come down to four fifths, or a lag about as long as the limit would come and go with each probe.
func lagging(r Result, most time.Duration, was bool) bool {
	switch {
	case most <= 0 || r.Role != Replica:
		return false
	case !r.LagKnown:
		return true
	case was:
		return r.Lag > most/5*4
	}
	return r.Lag > most
}
