package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ebb-lb/ebb/lb"
	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

const (
	demoMove = 2 * time.Second // from one change of the name to the next
	demoRest = 5 * time.Second // how long retired epochs may take to go once nobody holds them
)

func newDemoCommand() *cobra.Command {
	var length time.Duration
	var verbose bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a name that moves under load",
		Long: `demo runs ebb between a client under load, by TCP and UDP, and three backends that say who they are, and every two seconds
moves the DNS name that leads to them. All of it is in this one process and on the loopback: no files, no network, no root. On a
terminal it draws what the epoch table holds; otherwise it writes a line for each event. The last line has the client's
own count and the table's. It fails if a connection did, if a datagram had no answer, or if a retired epoch was left.`,
		Example: `  ebb demo              until Ctrl-C
  ebb demo --for 15s    the last line is: connections=N failed=0 bytes=N epochs=N reclaimed=N
                        datagrams=N lost=0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("for") && length <= 0 {
				return usagef("demo: --for: found %s, expected a duration above zero, such as 15s", length)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // the second one kills
			if length > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, length)
				defer cancel()
			}
			log := slog.New(slog.DiscardHandler)
			if verbose {
				log = lb.NewLogger(cmd.ErrOrStderr(), lb.NewLogForm("text"), slog.LevelInfo)
			}
			backends, err := listenBackends()
			if err != nil {
				return err
			}
			return runDemo(ctx, backends, demoScreen(cmd.OutOrStdout(), verbose), log)
		},
	}
	cmd.Flags().DurationVar(&length, "for", 0, "end by itself after this `DURATION`")
	cmd.SetFlagErrorFunc(flagError)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "write ebb's own log to stderr, and lines instead of the picture")
	return cmd
}

// demoScreen chooses between the picture and lines.
func demoScreen(out io.Writer, verbose bool) demoView {
	f, ok := out.(*os.File)
	if !ok || verbose || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return &demoLines{out: out}
	}
	return &demoPicture{
		out: out, color: os.Getenv("NO_COLOR") == "",
		size: func() (int, int) {
			width, height, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 || height <= 0 {
				return 80, 24
			}
			return width, height
		},
	}
}

// runDemo plays until ctx is done. It owns the backends. The error says what the demo was to show and did not.
func runDemo(ctx context.Context, backends demoBackends, view demoView, log *slog.Logger) error {
	defer backends.serve()()
	zone, err := newDemoZone(backends)
	if err != nil {
		return err
	}
	defer zone.close()
	ebb, err := startDemoEbb(zone, backends, log)
	if err != nil {
		return err
	}
	load := newDemoLoad(ebb.addr, ebb.datagrams, backends.names())
	watch := &demoWatch{zone: zone, load: load, status: ebb.pool, backends: backends, view: view, start: time.Now()}
	endWatch := watch.run()
	stopMoving := zone.move(demoMove)
	load.run(ctx)
	stopMoving()
	left := ebb.rest(demoRest)
	done := ebb.pool() // if something is left, that is the result: the end would cut its sessions and free it
	err = ebb.stop()
	endWatch()

	if len(left) == 0 {
		done = ebb.pool()
		left = retired(done)
	}
	count := load.count()
	fmt.Fprintf(view, "connections=%d failed=%d bytes=%d epochs=%d reclaimed=%d datagrams=%d lost=%d\n",
		count.connections, count.failed, count.bytes, done.EpochsPublished, done.EpochsReclaimed, count.datagrams, count.lost)
	return errors.Join(err, load.verdict(), epochVerdict(left))
}

// demoEbb is the ebb under demonstration.
type demoEbb struct {
	server    *lb.Server
	addr      netip.AddrPort
	datagrams netip.AddrPort
	end       context.CancelFunc
	done      chan struct{} // closed when it has ended, with err
	err       error
}

// startDemoEbb runs an ebb that sends to the zone's names.
func startDemoEbb(zone *demoZone, backends demoBackends, log *slog.Logger) (*demoEbb, error) {
	conf, err := demoConfig(zone, backends)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &demoEbb{end: cancel, done: make(chan struct{})}
	started := make(chan *lb.Server, 1)
	go func() {
		defer close(b.done)
		b.err = lb.Run(ctx, conf, lb.RunOptions{Log: log, Version: "demo", Started: func(s *lb.Server) { started <- s }})
	}()
	select {
	case b.server = <-started:
	case <-b.done:
		cancel()
		return nil, b.err
	}
	for _, l := range b.server.Status().Listeners {
		to := &b.addr
		if l.Protocol == "udp" {
			to = &b.datagrams
		}
		if *to, err = netip.ParseAddrPort(l.Address); err != nil {
			return nil, errors.Join(err, b.stop())
		}
	}
	return b, nil
}

// demoConfig is what these flags of ebb run give, and a few words that only a file can say.
func demoConfig(zone *demoZone, backends demoBackends) (*config.Config, error) {
	var flags config.Flags
	set := func(name, text string) error { return flags.Set(name, text) }
	errs := []error{
		set("listen", "tcp+udp://127.0.0.1:1"),
		set("resolver", "udp://"+zone.server.Addr()),
		set("allow-answers", "loopback"),
		set("min-refresh", demoTTL.String()),
		set("admin", "off"),
		set("access-log", "off"),
	}
	for _, target := range backends.targets() {
		errs = append(errs, set("to", target))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	conf, err := config.Load("", &flags)
	if err != nil {
		return nil, err
	}
	conf.ShutdownTimeout = demoRest
	conf.Resolvers[0].HostsFile = "" // nothing on this machine has a say
	l := &conf.Listeners[0]
	for i := range l.Listen {
		at := &l.Listen[i].Addr
		*at = netip.AddrPortFrom(at.Addr(), 0) // any free port, which a config cannot ask for
	}
	l.Mode, l.UDPIdleTimeout = "reqresp", demoPatience // each datagram is balanced anew, and its flow ends with the answer
	for i := range conf.Pools[0].Backends {
		b := &conf.Pools[0].Backends[i]
		b.Family, b.OnEmpty = "ipv4", "remove"
	}
	return conf, nil
}

// pool is the table's own account.
func (b *demoEbb) pool() admin.Pool { return b.server.Status().Pools[0] }

// rest waits until no retired epoch is left, and gives those that still are after d.
func (b *demoEbb) rest(d time.Duration) []admin.Epoch {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left := retired(b.pool())
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			return left
		}
	}
}

func (b *demoEbb) stop() error {
	b.end()
	<-b.done
	return b.err
}

func retired(p admin.Pool) []admin.Epoch {
	var left []admin.Epoch
	for _, e := range p.Epochs {
		if e.Retired {
			left = append(left, e)
		}
	}
	return left
}

func epochVerdict(left []admin.Epoch) error {
	if len(left) == 0 {
		return nil
	}
	parts := make([]string, len(left))
	for i, e := range left {
		parts[i] = fmt.Sprintf("epoch %d (%s) held by %d", e.ID, e.Cause, e.Sessions)
	}
	return fmt.Errorf("retired and not reclaimed: %s", strings.Join(parts, ", "))
}
