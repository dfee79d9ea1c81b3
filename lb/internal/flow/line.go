package flow

// line is things in order. Each is in one line at most, and embeds its neighbours.
type line[T any, P interface {
	*T
	beside() *neighbours[T]
}] struct {
	first, last *T
	n           int
}

// neighbours is where a thing stands in its line.
type neighbours[T any] struct{ before, after *T }

func (n *neighbours[T]) beside() *neighbours[T] { return n }

// push puts a thing behind all others.
func (l *line[T, P]) push(t *T) {
	*P(t).beside() = neighbours[T]{before: l.last}
	if l.last != nil {
		P(l.last).beside().after = t
	} else {
		l.first = t
	}
	l.last = t
	l.n++
}

func (l *line[T, P]) remove(t *T) {
	at := P(t).beside()
	if at.before != nil {
		P(at.before).beside().after = at.after
	} else {
		l.first = at.after
	}
	if at.after != nil {
		P(at.after).beside().before = at.before
	} else {
		l.last = at.before
	}
	l.n--
}
