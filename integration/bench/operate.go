package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The size of what is looked at, and of what is reloaded.
const (
	manyPeers     = 1000
	manySessions  = 10_000
	manyListeners = 1000
	peersOfEach   = 10
)

// operate measures what ebb's operation costs: to start it, to look at it, to bother its API, to reload it. What is in brackets is
// what it may be at most.
func (b *bench) operate(ctx context.Context, w io.Writer) error {
	fmt.Fprintf(w, "%s, %s\n", output("uname", "-sr"), output(b.ebb, "version"))
	for _, measure := range []func(context.Context, io.Writer) error{b.startUp, b.looks, b.bother, b.reloads} {
		if err := measure(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// startUp measures from the start of the process to its word that it is ready.
func (b *bench) startUp(ctx context.Context, w io.Writer) error {
	var took []time.Duration
	for range 21 {
		d, err := b.untilReady(ctx)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	fmt.Fprintf(w, "\nstart to ready, a literal (50 ms): median %v, most %v of %d\n", took[len(took)/2].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond), len(took))
	return nil
}

func (b *bench) untilReady(ctx context.Context) (time.Duration, error) {
	r, ready, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	begin := time.Now()
	cmd := exec.CommandContext(ctx, b.ebb, "run", "--listen", "tcp://127.0.0.1:"+freePort(), "--to", b.echo, "--admin", "127.0.0.1:"+freePort(), "--ready-fd", "3")
	cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{ready}, withParent()
	err = cmd.Start()
	ready.Close()
	if err != nil {
		return 0, err
	}
	_, err = r.Read(make([]byte, 1))
	took := time.Since(begin)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return took, err
}

// running is an ebb that is operated.
type running struct {
	*process
	admin string
	file  string
}

// run starts ebb with a config, and waits until it is ready: a kernel takes clients for a listener that nobody accepts from yet.
func (b *bench) run(ctx context.Context, listen, conf string) (*running, error) {
	r := &running{admin: "127.0.0.1:" + freePort(), file: filepath.Join(b.dir, "ebb.toml")}
	if err := os.WriteFile(r.file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	var err error
	if r.process, err = start(ctx, nil, b.ebb, "run", "-c", r.file, "--admin", r.admin, "--log-level", "error"); err != nil {
		return nil, err
	}
	if err = awaitTCP(listen); err == nil {
		err = r.awaitReady(ctx)
	}
	if err != nil {
		r.stop()
		return nil, fmt.Errorf("%w: %s", err, r.stderr.String())
	}
	return r, nil
}

func (r *running) awaitReady(ctx context.Context) (err error) {
	for range 1000 {
		if err = r.look("/readyz"); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// look asks the API once, and reads the answer to its end.
func (r *running) look(path string) error {
	reply, err := http.Get("http://" + r.admin + path)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, reply.Status)
	}
	return nil
}

// looks measures how long looks at many sessions and peers take, and what they cost at one a second.
func (b *bench) looks(ctx context.Context, w io.Writer) error {
	port, err := b.echoEverywhere()
	if err != nil {
		return err
	}
	listen := "127.0.0.1:" + freePort()
	r, err := b.run(ctx, listen, "[[listener]]\nname = \"l\"\nlisten = \"tcp://"+listen+"\"\npool = \"p\"\nmax_conns = \"off\"\n"+somePool("p", port, 0, manyPeers))
	if err != nil {
		return err
	}
	defer r.stop()
	n := min(manySessions, mostFiles/2-200) // here and in ebb each has two
	for range n {
		c, err := net.Dial("tcp", listen)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err = c.Write([]byte{1}); err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\n%d sessions, %d peers\n", n, manyPeers)
	for _, path := range []string{"/v1/status", "/metrics", "/v1/conns?limit=500"} {
		var took []time.Duration
		for range 21 {
			begin := time.Now()
			if err := r.look(path); err != nil {
				return err
			}
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		fmt.Fprintf(w, "  %s (50 ms): median %v, most %v of %d\n", path, took[len(took)/2].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond), len(took))
	}
	for _, c := range []struct {
		who   string
		paths []string
	}{
		{"nobody", nil}, {"Prometheus (1 %)", []string{"/metrics"}}, {"the dashboard, or ebb top (1 %)", []string{"/v1/status"}},
		{"ebb top at its list of sessions", []string{"/v1/status", "/v1/conns?limit=500"}}, {"Prometheus and the dashboard", []string{"/metrics", "/v1/status"}},
	} {
		share, err := r.share(ctx, max(b.length, 10*time.Second), func() error {
			for _, path := range c.paths {
				if err := r.look(path); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  CPU of ebb, looked at once a second by %s: %.2f %% of a core\n", c.who, 100*share)
	}
	return nil
}

// share is what ebb uses of a core while f is called once a second.
func (r *running) share(ctx context.Context, length time.Duration, f func() error) (float64, error) {
	before, err := r.cpu()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	for tick := time.NewTicker(time.Second); time.Since(begin) < length && ctx.Err() == nil; <-tick.C {
		if err := f(); err != nil {
			return 0, err
		}
	}
	after, err := r.cpu()
	return float64(after-before) / float64(time.Since(begin)), err
}

// bother measures what sessions notice while the API is bothered: bodies that are too large, requests that do not end, and more idle
// connections than it takes (SE-4).
func (b *bench) bother(ctx context.Context, w io.Writer) error {
	listen := "127.0.0.1:" + freePort()
	_, port, _ := net.SplitHostPort(b.echo)
	r, err := b.run(ctx, listen, "[[listener]]\nname = \"l\"\nlisten = \"tcp://"+listen+"\"\npool = \"p\"\n[pool.p]\n[[pool.p.backend]]\nhost = \"127.0.0.1\"\nport = "+port+"\n")
	if err != nil {
		return err
	}
	defer r.stop()
	fmt.Fprintf(w, "\nsessions, %d connections with a message each %v\n", talkers, talkEvery)
	return b.beside(ctx, w, listen, b.echo, "10 MB bodies, slow POSTs and 1000 idle connections at the API", r.pester)
}

// besideRounds is how often a time without something and one with it follow each other: whoever else uses this machine is in both.
const besideRounds = 5

// beside shows what sessions notice while nothing else happens, and while f does something until its context is done; and what clients
// notice of that which talk to the target itself: so much is for want of a core, whatever ebb does.
func (b *bench) beside(ctx context.Context, w io.Writer, listen, target, what string, f func(context.Context) error) error {
	var quiet, loud, past []delays
	for range besideRounds {
		for _, c := range []struct {
			addr string
			loud bool
			to   *[]delays
		}{{listen, false, &quiet}, {listen, true, &loud}, {target, true, &past}} {
			busy, stop := context.WithCancel(ctx)
			done := make(chan error, 1)
			if c.loud {
				go func() { done <- f(busy) }()
			} else {
				done <- nil
			}
			d, err := converse(ctx, c.addr, talkers, talkEvery, b.length)
			stop()
			if err = errors.Join(err, <-done); err != nil {
				return err
			}
			*c.to = append(*c.to, d)
		}
	}
	fmt.Fprintf(w, "  nothing else: %s\n  %s: %s\n  the same, and messages past ebb: %s\n", describe(quiet), what, describe(loud), describe(past))
	return nil
}

// pester bothers the API until ctx is done.
func (r *running) pester(ctx context.Context) error {
	var idle []net.Conn
	for i := range 1000 {
		c, err := net.Dial("tcp", r.admin)
		if err != nil {
			return err
		}
		defer c.Close()
		if i%2 == 0 { // the others say nothing at all
			_, _ = io.WriteString(c, "POST /v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		}
		idle = append(idle, c)
	}
	for n := 0; ctx.Err() == nil; n++ {
		_, _ = idle[n%len(idle)].Write([]byte(" ")) // it may be closed by now
		large := strings.NewReader(strings.Repeat(" ", 10<<20))
		ask, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.admin+"/v1/reload", large)
		if err != nil {
			return err
		}
		ask.Header.Set("Content-Type", "application/json")
		if reply, err := http.DefaultClient.Do(ask); err == nil { // it may be cut, too
			reply.Body.Close()
		}
	}
	return nil
}
