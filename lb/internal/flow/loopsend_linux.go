//go:build amd64 || arm64

package flow

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// flushRequests sends what clients have sent. A flow's only request is one of many that the intake may send together.
func (l *loop) flushRequests() {
	l.single = l.single[:0]
	for i := 0; i < len(l.touched); i++ { // a flow that ends may make others
		f := l.touched[i]
		l.touched[i] = nil
		s := &f.looped
		if s.first == 0 || s.first != s.last || !l.intake.send(int(s.fd), l.came[s.first-1].Payload, len(l.single)) {
			l.flush(f)
			continue
		}
		f.In.Add(int64(len(l.came[s.first-1].Payload)))
		s.first = 0
		l.single = append(l.single, f)
	}
	l.touched = l.touched[:0]
}

// flush sends the requests of a flow that are in the batch.
func (l *loop) flush(f *Flow) {
	next := f.looped.first
	f.looped.first = 0
	for next != 0 {
		l.outgoing.Reset()
		l.places = l.places[:0]
		for ; next != 0 && len(l.places) < most; next = l.next[next-1] {
			l.outgoing.Add(l.came[next-1].Payload, nil, nil, true)
			l.places = append(l.places, int(next-1))
		}
		if len(l.places) >= stream && !l.streamed {
			l.streamed = true
			coalesce(l.fd)
		}
		if sent := l.sendRequests(f); sent < len(l.places) {
			// The refusal of an earlier datagram, reported on this one, which was not sent: it opens another flow.
			for ; next != 0; next = l.next[next-1] {
				l.places = append(l.places, int(next-1))
			}
			l.again(f, l.places[sent:])
			return
		}
	}
}

// sendRequests sends the requests that are in the vector, and says how many are done with: less than all if one was refused.
func (l *loop) sendRequests(f *Flow) (at int) {
	for at < len(l.places) {
		n, err := l.send(l.outgoing, int(f.looped.fd), In)
		for i := range n {
			f.In.Add(int64(l.outgoing.Size(at + i)))
		}
		at += n
		switch {
		case err == nil:
		case errors.Is(err, unix.ECONNREFUSED):
			return at
		default:
			for range l.outgoing.Skip() {
				l.table.owner.Dropped(unsent(err, In))
				at++
			}
		}
	}
	return at
}

// send sends what is left of v.
func (l *loop) send(v *sock.Vector, fd int, d Direction) (n int, err error) {
	joined, late := v.Joined(), v.Late()
	n, err = v.Send(fd)
	if more := v.Joined() - joined; more > 0 {
		l.table.owner.Joined(d, more)
	}
	for range v.Late() - late {
		l.table.owner.Dropped(pathMTU)
	}
	return n, err
}

// again ends a flow that was refused and passes what it has not sent.
func (l *loop) again(f *Flow, places []int) {
	kept := slices.Clone(places) // the next flush writes over places
	l.end(f, f.refusal())
	before := l.place // of the request for which there is a flush
	for _, at := range kept {
		l.place = at
		l.table.send(l.came[at].Payload, f.key())
	}
	l.place = before
}

// unsent deals with what the intake could not send.
func (l *loop) unsent(at int) {
	d := &l.came[at]
	if d.Kind == engine.Listening {
		l.sent[d.Tag].Out.Add(-int64(len(d.Payload)))
		l.table.owner.Dropped(unsent(d.Err, Out))
		return
	}
	f := l.single[d.Tag]
	f.In.Add(-int64(len(d.Payload)))
	switch {
	case d.Err == unix.ECONNREFUSED:
		l.again(f, []int{at})
	case d.Err == unix.EMSGSIZE && l.flows[f.looped.slot] == f: // as in portable.write
		l.outgoing.Reset()
		l.outgoing.Add(d.Payload, nil, nil, false)
		if _, err := l.send(l.outgoing, int(f.looped.fd), In); err != nil {
			l.table.owner.Dropped(unsent(err, In))
			return
		}
		f.In.Add(int64(len(d.Payload)))
		l.table.owner.Dropped(pathMTU)
	default:
		l.table.owner.Dropped(unsent(d.Err, In))
	}
}

// reply sends the replies of the turn: all by the intake, or streams joined.
func (l *loop) reply() {
	l.sent = l.sent[:0]
	for i := range l.answers {
		a := &l.answers[i]
		if l.streams || !l.intake.reply(l.fd, a.payload, a.flow.looped.name[:a.flow.looped.nameSize], a.flow.replyControl(a.class), i) {
			break // at the first one, or never
		}
		a.flow.Out.Add(int64(len(a.payload)))
		l.sent = append(l.sent, a.flow)
	}
	if len(l.sent) == 0 {
		l.flushReplies()
	}
	l.replied()
}

// flushReplies sends the replies of all flows.
func (l *loop) flushReplies() {
	for first := 0; first < len(l.answers); first += most {
		l.sendReplies(l.answers[first:min(first+most, len(l.answers))])
	}
	l.replied()
}

func (l *loop) sendReplies(answers []answer) {
	l.replies.Reset()
	for i := range answers {
		a := &answers[i]
		f := a.flow
		more := i > 0 && answers[i-1].flow == f && answers[i-1].class == a.class
		l.replies.Add(a.payload, f.looped.name[:f.looped.nameSize], f.replyControl(a.class), more)
	}
	for at := 0; at < len(answers); {
		n, err := l.send(l.replies, l.fd, Out)
		for i := range n {
			answers[at+i].flow.Out.Add(int64(l.replies.Size(at + i)))
		}
		at += n
		if err != nil {
			for range l.replies.Skip() {
				l.table.owner.Dropped(unsent(err, Out))
				at++
			}
		}
	}
}

// replied forgets the replies: they are on their way.
func (l *loop) replied() {
	for i := range l.answers {
		l.answers[i].flow.looped.replies = 0
		l.answers[i] = answer{}
	}
	l.answers, l.streams = l.answers[:0], false
}
