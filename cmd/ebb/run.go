package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ebb-lb/ebb/lb"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/logtarget"
)

// flushTimeout bounds how long the end of the process waits for a log target that does not take its lines.
const flushTimeout = time.Second

func newRunCommand() *cobra.Command {
	var c configFlags
	var fd readyFD
	cmd := &cobra.Command{
		Use:   "run {-c FILE | --listen URL --to HOST:PORT} [flags]",
		Short: "Balance, by a file or by flags",
		Long: `run listens, asks DNS, and passes sessions to peers until SIGTERM or SIGINT. Then it is no longer ready, takes no more
sessions, and gives those that live shutdown_timeout to end; a second signal cuts them. SIGHUP reads the file again. Without a file, all --listen
share one pool of all --to. The log goes to stderr, text on a terminal and JSON otherwise, unless log.target says
where; SIGUSR1 opens its file again.`,
		Example: `  ebb run --listen tcp://127.0.0.1:5432 --to db.example.com:5432
  ebb run --listen tcp://:6379 --to 10.0.0.1:6379,weight=2 --to 10.0.0.2:6379 --check tcp
  ebb run --listen tcp+udp://127.0.0.1:53 --to ns.example.com:53 --resolver udp://10.0.0.2
  ebb run -c ebb.toml --log-level debug`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.load(cmd)
			if err != nil {
				return err
			}
			return c.serve(cmd.Context(), conf, cmd.ErrOrStderr(), fd.file)
		},
	}
	c.add(cmd)
	cmd.Flags().Var(&fd, "ready-fd", "write a newline to this inherited file descriptor when ready, and close it")
	return cmd
}

// serve balances until it is told to stop. When it returns, what was logged has been written, if the target takes it.
func (c *configFlags) serve(ctx context.Context, conf *config.Config, stderr io.Writer, readyFD *os.File) error {
	signal.Ignore(syscall.SIGPIPE) // to the end: a log that nobody reads any more is a failed write, not a reason to die
	target, err := logtarget.Open(conf.Log.Target, stderr)
	if err != nil {
		return config.Problems{conf.Problem("log.target", "found "+strconv.Quote(conf.Log.Target)+": "+err.Error())}
	}
	defer target.Close()
	sink := lb.NewLogSink(target)
	defer flush(sink)
	level := new(slog.LevelVar)
	level.Set(levelOf(conf.Log))
	log := lb.NewLogger(sink, logFormat(stderr, conf.Log), level)
	n := &notifier{fd: readyFD, log: log}
	defer n.close()
	ctx, s := newStopper(ctx, n, target, log)
	defer s.close()
	over := make(chan struct{})
	defer close(over)
	o := lb.RunOptions{
		Log: log, Version: buildVersion(), Sink: sink, Ready: n.ready, Hurry: s.hurry,
		Started: func(server *lb.Server) {
			s.started <- server
			go n.watchdog(func() { server.Ready() }, over)
		},
		SetLog:    func(l config.Log) { level.Set(levelOf(l)) },
		Reloading: n.reloading, Reloaded: n.reloaded,
	}
	if c.file != "" {
		o.Load = func() (*config.Config, error) { return config.Load(c.file, &c.given) }
		o.Parse = func(file, text string) (*config.Config, error) { return config.Parse(file, text, &c.given) }
	}
	return lb.Run(ctx, conf, o)
}

func flush(sink *lb.LogSink) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	sink.Close(ctx)
}

func levelOf(c config.Log) (level slog.Level) {
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		panic(err) // config knows the levels
	}
	return level
}

func logFormat(stderr io.Writer, c config.Log) string {
	if c.Format != "auto" {
		return c.Format
	}
	if f, ok := stderr.(*os.File); ok && c.Target == "stderr" && term.IsTerminal(int(f.Fd())) {
		return "text"
	}
	return "json"
}
