package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb"
	"github.com/ebb-lb/ebb/lb/config"
)

func newRunCommand() *cobra.Command {
	var c configFlags
	var fd readyFD
	var watching bool
	cmd := &cobra.Command{
		Use:   "run {-c FILE | --listen URL --to HOST:PORT} [flags]",
		Short: "Balance, by a file or by flags",
		Long: `run listens, asks DNS, and passes sessions to peers until SIGTERM or SIGINT. Then it is no longer ready, takes no more
sessions, and gives those that live shutdown_timeout to end; a second signal cuts them. SIGHUP reads the file again;
with --watch so does a change of it. Without a file, all --listen share one pool of all --to. The log goes to stderr,
text on a terminal and JSON otherwise, unless log.target says where; SIGUSR1 opens its file again.`,
		Example: `  ebb run --listen tcp://127.0.0.1:5432 --to db.example.com:5432
  ebb run --listen tcp://:6379 --to 10.0.0.1:6379,weight=2 --to 10.0.0.2:6379 --check tcp
  ebb run --listen tcp+udp://127.0.0.1:53 --to ns.example.com:53 --resolver udp://10.0.0.2
  ebb run -c ebb.toml --log-level debug`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var watch *fileWatch
			if watching {
				if c.file == "" {
					return usagef("run: --watch wants -c FILE: flags do not change")
				}
				watch = newFileWatch(c.file) // before it is read
			}
			conf, err := c.load(cmd)
			if err != nil {
				return err
			}
			return c.serve(cmd.Context(), conf, cmd.ErrOrStderr(), fd.file, watch)
		},
	}
	c.add(cmd)
	cmd.Flags().Var(&fd, "ready-fd", "write a newline to this inherited file descriptor when ready, and close it")
	cmd.Flags().BoolVar(&watching, "watch", false, "read the file again when it is another, as after SIGHUP")
	return cmd
}

// serve balances until it is told to stop. When it returns, what was logged has been written, if the target takes it.
func (c *configFlags) serve(ctx context.Context, conf *config.Config, stderr io.Writer, readyFD *os.File, watch *fileWatch) error {
	signal.Ignore(syscall.SIGPIPE) // to the end: a log that nobody reads any more is a failed write, not a reason to die
	log, err := newLogging(conf, stderr)
	if err != nil {
		return err
	}
	defer log.close()
	n := &notifier{fd: readyFD, log: log.Logger}
	defer n.close()
	ctx, s := newStopper(ctx, n, log.reopen, log.Logger)
	defer s.close()
	if watch != nil {
		s.done.Go(func() { watch.run(ctx, func() { s.reload(ctx) }) })
	}
	over := make(chan struct{})
	defer close(over)
	o := lb.RunOptions{
		Log: log.Logger, Version: buildVersion(), Sink: log.sink, Ready: n.ready, Hurry: s.hurry,
		Started: func(server *lb.Server) {
			s.started <- server
			go n.watchdog(func() { server.Ready() }, over)
		},
		PrepareLog: log.prepare, Sockets: activation.Files(true),
		Reloading: n.reloading, Reloaded: n.reloaded,
	}
	if c.file != "" {
		o.Load = func() (*config.Config, error) { return config.Load(c.file, &c.given) }
		o.Parse = func(file, text string) (*config.Config, error) { return config.Parse(file, text, &c.given) }
	}
	return lb.Run(ctx, conf, o)
}
