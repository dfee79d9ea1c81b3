package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb"
	"github.com/ebb-lb/ebb/lb/config"
)

func newResolveCommand() *cobra.Command {
	var file string
	var types, servers []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "resolve NAME",
		Short: "Ask once for a name, show every step, and what ebb would do with the answer",
		Long: `resolve asks for a name as a running ebb would, by the same code, and shows each question to each server, what came
back, and what a backend of this name would make of it. No ebb needs to run. With -c, and if the file has a backend of
this name, its rules and its pool's resolver count; otherwise the defaults do. The exit code is 1 if there was no answer,
or none that can be used; that a name does not exist is an answer.`,
		Example: `  ebb resolve db.example.com
  ebb resolve _pg._tcp.example.com --resolver udp://10.0.0.2 --json
  ebb resolve db.example.com --type AAAA -c ebb.toml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s: a name is missing", cmd.Name())
			}
			return atMostOneName(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			conf, err := resolveConfig(file, servers)
			if err != nil {
				return err
			}
			list, err := lb.Resolve(cmd.Context(), conf, args[0], types...)
			if err != nil {
				return usagef("resolve: %w", err)
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), list)
			} else {
				err = writeResolutions(cmd.OutOrStdout(), list)
			}
			for _, r := range list {
				if err == nil && r.Kind == "failure" {
					err = fmt.Errorf("resolve: %s %s: %s", r.Name, r.Type, r.Error)
				}
			}
			return err
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringArrayVar(&types, "type", nil, "ask for this `TYPE`: A, AAAA or SRV; may repeat (default what a backend of this name needs)")
	fs.StringArrayVar(&servers, "resolver", nil, "ask this DNS `SERVER`: system, or udp://, tcp://, tls:// or https:// with an address; may repeat (default system)")
	fs.VarP(fileValue{&file}, "config", "c", "take resolvers and backends from this TOML `FILE`")
	fs.BoolVar(&asJSON, "json", false, "a list of documents, for scripts")
	_ = cmd.MarkFlagFilename("config", "toml") // for completion; there is such a flag
	cmd.SetFlagErrorFunc(flagError)
	return cmd
}

// resolveConfig is the file, or a config that has nothing but DNS servers.
func resolveConfig(file string, servers []string) (*config.Config, error) {
	switch {
	case file != "" && len(servers) > 0:
		return nil, usageError{fmt.Errorf("resolve: found --resolver beside -c, expected one of them"), "ebb resolve"}
	case file != "":
		return config.Load(file, nil)
	}
	var f config.Flags
	for _, set := range append([][2]string{{"listen", "tcp://127.0.0.1:1"}, {"to", "127.0.0.1:1"}}, pairs("resolver", servers)...) {
		if err := f.Set(set[0], set[1]); err != nil {
			return nil, err
		}
	}
	return config.FromFlags(&f)
}

func pairs(name string, values []string) (list [][2]string) {
	for _, v := range values {
		list = append(list, [2]string{name, v})
	}
	return list
}

// writeResolutions shows resolutions somewhat as dig does: what is not a record is a comment.
func writeResolutions(w io.Writer, list []lb.Resolution) error {
	out := &errorWriter{w: w}
	for i, r := range list {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, ";; %s %s, resolver %s\n", r.Name, r.Type, r.Resolver)
		for n, s := range r.Steps {
			fmt.Fprintf(out, ";; %d. %s at %s: %s in %s\n", n+1, s.Name, s.Server, s.Result, seconds(s.Took).Round(10*time.Microsecond))
			if s.Error != "" {
				fmt.Fprintf(out, ";;    %s\n", s.Error)
			}
			for _, line := range s.Lines {
				fmt.Fprintln(out, line)
			}
			if s.More > 0 {
				fmt.Fprintf(out, ";;    and %d more\n", s.More)
			}
		}
		for _, text := range r.Warnings {
			fmt.Fprintf(out, ";; warning: %s\n", text)
		}
		writeAnswer(out, r)
	}
	return out.err
}

// writeAnswer shows what the steps led to.
func writeAnswer(out io.Writer, r lb.Resolution) {
	answer := verdict(r.Kind, r.Rcode, r.Server)
	if r.Local {
		answer += ", which asks nobody"
	}
	if r.Error != "" {
		answer += ": " + r.Error
	} else {
		answer += ", ttl " + age(seconds(r.TTL))
	}
	fmt.Fprintf(out, ";; answer: %s\n", answer)
	if len(r.Chain) > 0 {
		fmt.Fprintf(out, ";; by way of %s\n", strings.Join(r.Chain, ", "))
	}
	for _, rec := range r.Records {
		fmt.Fprintf(out, ";;   %s\n", rec)
	}
	for _, h := range r.Hints {
		fmt.Fprintf(out, ";;   %s came along\n", h)
	}
	rules := "the defaults"
	if r.Backend != "" {
		rules = "the backend " + r.Backend
	}
	fmt.Fprintf(out, ";; by the rules of %s ebb would\n", rules)
	for _, line := range r.Effect {
		fmt.Fprintf(out, ";;   %s\n", line)
	}
}
