package lb

import (
	"errors"
	"sync"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// A reload is a plan, which only compares two configs; then what can fail, of which nothing is seen from outside: sockets
// are bound, pools are made, new names are asked for; then what cannot fail. What does not differ is not touched.

// The errors of a reload that are not about a config.
var (
	errNoFile   = errors.New("ebb was started by flags: there is no file to read again")
	errStopping = errors.New("ebb is stopping")
)

// reloads runs one reload at a time. Those that are asked for while one runs are one more, together.
type reloads struct {
	mu     sync.Mutex
	busy   bool
	closed bool
	next   *reloadRun
	runs   sync.WaitGroup
}

type reloadRun struct {
	done    chan struct{}
	changes []string
	err     error
}

// ask has run called, now or after the call that is under way, and gives what it says.
func (r *reloads) ask(run func() ([]string, error)) ([]string, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, errStopping
	}
	if r.next == nil {
		r.next = &reloadRun{done: make(chan struct{})}
	}
	mine := r.next
	if !r.busy {
		r.busy = true
		r.runs.Go(func() { r.loop(run) })
	}
	r.mu.Unlock()
	<-mine.done
	return mine.changes, mine.err
}

func (r *reloads) loop(run func() ([]string, error)) {
	for {
		r.mu.Lock()
		now := r.next
		r.next = nil
		if now == nil {
			r.busy = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		now.changes, now.err = run()
		close(now.done)
	}
}

// close refuses what is asked for from now on, and waits for what is under way.
func (r *reloads) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.runs.Wait()
}

// Reload reads the config again and does what it says, all of it or nothing. It gives what changed, in words; with an
// error, the running config is as it was. It may be called from any goroutine after Started.
func (s *Server) Reload() ([]string, error) {
	return s.reloads.ask(s.reload)
}

// Plan says what a reload would change if the file had this text. Addresses are not bound and names are not asked for.
func (s *Server) Plan(file, text string) ([]string, error) {
	if s.opts.Parse == nil {
		return nil, errNoFile
	}
	conf, err := s.opts.Parse(file, text)
	if err != nil {
		return nil, invalid(err)
	}
	old := s.running().conf
	if problems := append(fixed(old, conf), Probe(conf)...); len(problems) > 0 {
		return nil, invalid(problems)
	}
	lines, _ := plan(old, conf)
	return lines, nil
}

// invalid makes the problems of a config what the API knows of them.
func invalid(err error) error {
	var problems config.Problems
	if !errors.As(err, &problems) {
		return err
	}
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.String()
	}
	return &admin.Invalid{Problems: lines}
}

func (s *Server) reload() (changes []string, err error) {
	s.pause(2*startupWait, func() bool { return s.accepting.Load() || s.stopping.Load() }) // a start goes first
	if s.stopping.Load() || !s.accepting.Load() {
		return nil, errStopping
	}
	begin := time.Now()
	if s.opts.Reloading != nil {
		s.opts.Reloading()
		defer func() { s.opts.Reloaded(err) }()
	}
	changes, err = s.reread()
	if err != nil {
		s.reloaded.add("failed")
		err = invalid(err)
		s.log.Error("reload failed", "error", err)
		return nil, err
	}
	s.reloaded.add("ok")
	s.log.Info("reload", "changes", append([]string{}, changes...), "took", time.Since(begin))
	return changes, nil
}

func (s *Server) reread() ([]string, error) {
	if s.opts.Load == nil {
		return nil, errNoFile
	}
	conf, err := s.opts.Load()
	if err != nil {
		return nil, err
	}
	return s.adopt(conf)
}

func (s *Server) adopt(conf *config.Config) ([]string, error) {
	old := s.running()
	if problems := append(fixed(old.conf, conf), Probe(conf)...); len(problems) > 0 {
		return nil, problems
	}
	changes, pools := plan(old.conf, conf)
	if len(changes) == 0 {
		return changes, nil
	}
	conf.Relay = old.conf.Relay // which is what runs, until a restart
	t := &transition{s: s, old: old, next: &generation{conf: conf}, differ: pools, proposals: make(map[*livePool]*proposal)}
	if err := t.prepare(); err != nil {
		t.undo()
		return nil, err
	}
	t.commit()
	s.saveState()
	return changes, nil
}
