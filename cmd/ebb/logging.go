package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/ebb-lb/ebb/lb"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/logtarget"
)

// flushTimeout bounds how long a log target that is no longer used may take for its last lines.
const flushTimeout = time.Second

// logging is the log of the process. Its level, form and target change with the config.
type logging struct {
	*slog.Logger
	sink  *lb.LogSink
	level slog.LevelVar
	form  *lb.LogForm

	stderr io.Writer

	mu     sync.Mutex // guards name and target, and is held where they change
	name   string
	target logtarget.Target
	ending sync.WaitGroup // targets that take their last lines
}

// newLogging opens the target. Close it to flush.
func newLogging(conf *config.Config, stderr io.Writer) (*logging, error) {
	l := &logging{stderr: stderr, form: lb.NewLogForm(logForm(stderr, conf.Log)), name: conf.Log.Target}
	target, err := l.open(conf)
	if err != nil {
		return nil, err
	}
	l.target, l.sink = target, lb.NewLogSink(target)
	l.level.Set(levelOf(conf.Log))
	l.Logger = lb.NewLogger(l.sink, l.form, &l.level)
	return l, nil
}

func (l *logging) open(conf *config.Config) (logtarget.Target, error) {
	target, err := logtarget.Open(conf.Log.Target, l.stderr)
	if err != nil {
		return nil, config.Problems{conf.Problem("log.target", "found "+strconv.Quote(conf.Log.Target)+": "+err.Error())}
	}
	return target, nil
}

// prepare makes what another config needs: use logs as it says, drop lets go of what was made for that.
func (l *logging) prepare(conf *config.Config) (use, drop func(), err error) {
	l.mu.Lock()
	stays := l.name == conf.Log.Target
	l.mu.Unlock()
	var next logtarget.Target
	if !stays {
		if next, err = l.open(conf); err != nil {
			return nil, nil, err
		}
	}
	use = func() {
		l.level.Set(levelOf(conf.Log))
		form := logForm(l.stderr, conf.Log)
		if form == "json" { // the journal takes nothing else: no line of text follows it there
			l.form.Set(form)
		}
		if next != nil {
			l.turn(conf.Log.Target, next)
		}
		l.form.Set(form)
	}
	drop = func() {
		if next != nil {
			next.Close()
		}
	}
	return use, drop, nil
}

// turn goes on in another target. The last lines of the one before are written beside it: it may be a target that takes none.
func (l *logging) turn(name string, next logtarget.Target) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.target
	l.name, l.target = name, next
	flush := l.sink.Turn(next)
	l.ending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		flush(ctx)
		old.Close()
	})
}

// reopen says so as the first line in the new file, or in the old one why it stays.
func (l *logging) reopen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.target.Reopen(); err != nil {
		l.Error("log not opened again", "error", err)
		return
	}
	l.Info("log opened again")
}

// close writes what was logged, if the targets take it.
func (l *logging) close() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	l.sink.Close(ctx)
	l.mu.Lock()
	l.target.Close()
	l.mu.Unlock()
	l.ending.Wait()
}

func levelOf(c config.Log) (level slog.Level) {
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		panic(err) // config knows the levels
	}
	return level
}

func logForm(stderr io.Writer, c config.Log) string {
	if c.Format != "auto" {
		return c.Format
	}
	if f, ok := stderr.(*os.File); ok && c.Target == "stderr" && term.IsTerminal(int(f.Fd())) {
		return "text"
	}
	return "json"
}
