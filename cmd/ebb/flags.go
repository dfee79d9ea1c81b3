package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ebb-lb/ebb/lb/config"
)

// configFlags are -c and the flags that config defines; every verb that reads a config has them.
type configFlags struct {
	file  string
	given config.Flags
}

// flagGroup is a heading of the usage. Flags that have no function in this version are in no group; they are hidden, and
// config refuses them.
type flagGroup struct{ title, names string }

var flagGroups = []flagGroup{
	{"Where from and where to", "config listen to"},
	{"Peers", "balance check want check-user check-password-file connect-timeout proxy-out"},
	{"Names", "resolver allow-answers min-refresh max-refresh"},
	{"Sessions", "max-conns idle-timeout proxy-in engine loops"},
	{"Process", "admin admin-token-file log-level log-format access-log watch ready-fd help"},
}

func (c *configFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.VarP(fileValue{&c.file}, "config", "c", "read this TOML file; admin, log, engine and loops may stand beside it")
	_ = cmd.MarkFlagFilename("config", "toml") // for completion; there is such a flag
	unset := flagDefaults()
	for _, d := range config.FlagDefs() {
		f := fs.VarPF(&flagValue{def: d, flags: &c.given}, d.Name, "", usage(d))
		f.DefValue = unset[d.Name]
	}
	cmd.SetFlagErrorFunc(flagError)
	cmd.SetUsageFunc(groupedUsage)
}

func usage(d config.FlagDef) string {
	if d.Repeat {
		return d.Usage + "; may repeat"
	}
	return d.Usage
}

func grouped(name string) bool {
	return slices.ContainsFunc(flagGroups, func(g flagGroup) bool { return slices.Contains(strings.Fields(g.names), name) })
}

// load makes the config of the file and the flags.
func (c *configFlags) load(cmd *cobra.Command) (*config.Config, error) {
	if !slices.ContainsFunc([]string{"config", "listen", "to"}, cmd.Flags().Changed) {
		return nil, usageError{fmt.Errorf("%s: give -c FILE, or --listen URL and --to HOST:PORT", cmd.Name()), cmd.CommandPath()}
	}
	return config.Load(c.file, &c.given)
}

// leastConfig has one of each thing, and every default.
func leastConfig() (*config.Config, error) {
	var least config.Flags
	for name, text := range map[string]string{"listen": "tcp://127.0.0.1:10000", "to": "127.0.0.1:10000"} {
		if err := least.Set(name, text); err != nil {
			return nil, err
		}
	}
	return config.FromFlags(&least)
}

// flagDefaults shows what holds where a flag is not given, as a config without it has it.
func flagDefaults() map[string]string {
	c, err := leastConfig()
	if err != nil {
		panic(err)
	}
	number := func(n int, zero string) string {
		if n == 0 {
			return zero
		}
		return strconv.Itoa(n)
	}
	p, b, l := c.Pools[0], c.Pools[0].Backends[0], c.Listeners[0]
	return map[string]string{
		"balance": p.Balance, "proxy-out": p.ProxyOut, "connect-timeout": config.Brief(p.ConnectTimeout),
		"resolver": strings.Join(c.Resolvers[0].Servers, " "), "min-refresh": config.Brief(b.MinRefresh), "max-refresh": config.Brief(b.MaxRefresh),
		"max-conns": number(l.MaxConns, "off"), "idle-timeout": idleDefault(l), "engine": c.Relay.Engine, "loops": number(c.Relay.Loops, "auto"),
		"admin": c.Admin.Listen, "log-level": c.Log.Level, "log-format": c.Log.Format, "access-log": c.Log.Access,
	}
}

// idleDefault shows both defaults of one flag: TCP may idle for ever, UDP may not.
func idleDefault(l config.Listener) string {
	tcp := "off"
	if l.IdleTimeout > 0 {
		tcp = config.Brief(l.IdleTimeout)
	}
	return fmt.Sprintf("%s, UDP %s", tcp, config.Brief(l.UDPIdleTimeout))
}

// flagValue hands the uses of one flag to config, which judges them together.
type flagValue struct {
	def   config.FlagDef
	flags *config.Flags
}

func (v *flagValue) Set(text string) error { return v.flags.Set(v.def.Name, text) }
func (v *flagValue) String() string        { return "" }
func (v *flagValue) Type() string          { return v.def.Value }

// fileValue is the name of a file; an empty one is a variable that a script forgot to set.
type fileValue struct{ name *string }

func (v fileValue) Set(text string) error {
	if text == "" {
		return errors.New("the name of a file is missing")
	}
	*v.name = text
	return nil
}
func (v fileValue) String() string { return "" }
func (v fileValue) Type() string   { return "FILE" }

// flagError says what is wrong with a flag as it is said of keys, and adds the one that was perhaps meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &invalid):
		return fmt.Errorf("%s: --%s: found %q, %w", cmd.Name(), invalid.GetFlag().Name, invalid.GetValue(), expectation(invalid))
	case !errors.As(err, &unknown):
		return fmt.Errorf("%s: %w", cmd.Name(), err)
	case strings.ContainsAny(unknown.GetSpecifiedShortnames(), "0123456789"):
		return fmt.Errorf("%s: found \"-%s\", expected no number below zero", cmd.Name(), unknown.GetSpecifiedShortnames())
	}
	known := &cobra.Command{SuggestionsMinimumDistance: 2} // cobra measures distances between commands
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	if near := known.SuggestionsFor(unknown.GetSpecifiedName()); len(near) > 0 {
		return fmt.Errorf("%s: %w, did you mean --%s?", cmd.Name(), err, strings.Join(near, " or --"))
	}
	return fmt.Errorf("%s: %w", cmd.Name(), err)
}

// expectation says what a flag's value should have been: the flag itself knows, or its type tells.
func expectation(e *pflag.InvalidValueError) error {
	switch e.GetFlag().Value.Type() {
	case "duration":
		return errors.New(`expected a duration with its unit (ms, s, m, h), such as "30s"`)
	case "int", "uint64":
		return errors.New("expected a whole number")
	case "bool":
		return errors.New("expected true or false")
	}
	return e.Unwrap()
}

// groupedUsage is the usage of a verb, its flags under headings.
func groupedUsage(cmd *cobra.Command) error {
	out := cmd.OutOrStderr()
	fmt.Fprintf(out, "Usage:\n  ebb %s\n\nExamples:\n%s\n", cmd.Use, cmd.Example)
	for _, g := range flagGroups {
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		fs.SortFlags = false
		for name := range strings.FieldsSeq(g.names) {
			if f := cmd.Flags().Lookup(name); f != nil {
				fs.AddFlag(f)
			}
		}
		if fs.HasFlags() {
			fmt.Fprintf(out, "\n%s:\n%s", g.title, fs.FlagUsages())
		}
	}
	own := pflag.NewFlagSet("", pflag.ContinueOnError) // of this verb alone
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && !grouped(f.Name) {
			own.AddFlag(f)
		}
	})
	if own.HasFlags() {
		fmt.Fprintf(out, "\nThis verb:\n%s", own.FlagUsages())
	}
	return nil
}
