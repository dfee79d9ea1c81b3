package pool

// Standing says whether a peer may be picked now, and if not, why. It is what picks go by.
type Standing uint8

// The standings. A pick takes the lowest that it finds among the first four, and never one of the others.
const (
	StandingGood       Standing = iota
	StandingCrowded             // it is above the bound of hash
	StandingUnproven            // its check has not passed yet
	StandingEjected             // sessions have failed on it in a row
	StandingFull                // it is at MaxConns
	StandingConnecting          // at MaxConnecting
	StandingPaced               // at ConnectRate
	StandingSpent               // the table is at MaxTotal
	StandingTried               // the session has tried it
	StandingStandby             // another tier serves
	StandingWeightless
	StandingDown  // its check fails
	StandingUnfit // its check passes, and it is not what the pool wants
	StandingDrain
	StandingMaint
	StandingUnlisted // the newest epoch does not list it
)

var standingWords = [...][2]string{
	StandingGood:       {"good", "may be picked"},
	StandingCrowded:    {"crowded", "it has more than bounded times its share: picked only if no better one is there"},
	StandingUnproven:   {"unproven", "its check has not passed yet: picked only if no better one is there"},
	StandingEjected:    {"ejected", "sessions have failed on it in a row: picked only if no better one is there"},
	StandingFull:       {"full", "it is at max_conns"},
	StandingConnecting: {"connecting", "it is at max_connecting"},
	StandingPaced:      {"paced", "it is at connect_rate"},
	StandingSpent:      {"spent", "the pool is at pool_max_conns"},
	StandingTried:      {"tried", "the session has tried it"},
	StandingStandby:    {"standby", "another tier serves"},
	StandingWeightless: {"weightless", "its weight is 0"},
	StandingDown:       {"down", "its check fails"},
	StandingUnfit:      {"unwanted", "its check says that it is not what the pool wants"},
	StandingDrain:      {"drain", "an operator drains it"},
	StandingMaint:      {"maint", "an operator has it under maintenance"},
	StandingUnlisted:   {"unlisted", "it is no longer listed, and only keeps the sessions that it has"},
}

// String is the standing as one word.
func (s Standing) String() string { return standingWords[s][0] }

// Why is the standing as a sentence without its peer.
func (s Standing) Why() string { return standingWords[s][1] }

// standing is that of a candidate, for who asks.
func (e *epoch) standing(c *candidate, r *asking) Standing {
	switch {
	case e.excluded(c, r):
		return StandingTried
	case c.tallies[r.tally].full(e.limitOf(c)):
		return StandingFull
	case e.gated() && e.shut(c, r) != StandingGood:
		return e.shut(c, r)
	case c.peer.ejected(e.table, r.Request):
		return StandingEjected
	case !c.proven:
		return StandingUnproven
	case e.crowded(c, r):
		return StandingCrowded
	}
	return StandingGood
}

// barred says what keeps a member from being a candidate in whichever tier it is; StandingGood if nothing does. The caller
// holds t.mu.
func (t *Table) barred(m Member, p *Peer) Standing {
	switch {
	case p.Admin() == AdminMaint:
		return StandingMaint
	case p.Admin() == AdminDrain:
		return StandingDrain
	case p.Health() == HealthDown:
		return StandingDown
	case p.Health() == HealthUnfit:
		return StandingUnfit
	case t.weight(m) == 0:
		return StandingWeightless
	}
	return StandingGood
}
