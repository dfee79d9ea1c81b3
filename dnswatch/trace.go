package dnswatch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// maxLines bounds how much of a reply a step shows.
const maxLines = 64

// Trace is one resolution, step by step.
type Trace struct {
	Answer Answer
	Steps  []Step // the questions that were put to servers, in the order of their ends; none if the answer is local

	mu    sync.Mutex
	begin time.Time
}

// Step is one question to one server.
type Step struct {
	Name   string // with the last dot: after the search list, along CNAMEs
	Server string // tcp:// where UDP did not do
	EDNS   int    // UDP payload offered; 0 is no EDNS
	Result string // as given to OnQuery
	Err    error
	At     time.Duration // when it began, after the begin of the resolution
	Took   time.Duration
	Lines  []string // the reply's records in the form of a zone file, at most 64
	More   int      // records beyond those
}

// Resolve asks once, by the very code that watchers ask by, and shows every step. It joins no question that is under way,
// and tells no subscriber. The error says that the name cannot be asked for; that an answer failed is in the trace.
func (w *Watcher) Resolve(ctx context.Context, resolver, name string, typ Type) (*Trace, error) {
	l, k, err := w.find(resolver, name, typ)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, ErrClosed
	}
	w.running.Add(1)
	w.mu.Unlock()
	defer w.running.Done()
	defer context.AfterFunc(w.ctx, cancel)()
	t := &Trace{begin: time.Now()}
	t.Answer = l.resolver.resolve(ctx, k.name, typ, t)
	t.Answer.At, t.Answer.Serial, t.Answer.Streak = time.Now(), 1, 1
	return t, nil
}

func (t *Trace) add(begin time.Time, via server, q query, word string, m *dns.Msg, err error) {
	s := Step{
		Name: q.name, Server: via.String(), EDNS: q.edns, Result: word, Err: err, At: begin.Sub(t.begin), Took: time.Since(begin),
	}
	if m != nil {
		for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
			for _, rr := range section {
				switch {
				case rr.Header().Rrtype == dns.TypeOPT:
				case len(s.Lines) == maxLines:
					s.More++
				default:
					s.Lines = append(s.Lines, rr.String())
				}
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Steps = append(t.Steps, s)
}

func (s Step) String() string {
	text := fmt.Sprintf("%s at %s: %s, %v", s.Name, s.Server, s.Result, s.Took.Round(time.Microsecond))
	if s.Err != nil {
		text += ": " + s.Err.Error()
	}
	return text
}
