package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/doctor"
)

func newDoctorCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [-c FILE]",
		Short: "Say what this machine lacks for ebb, and what mends it",
		Long: `doctor looks at limits, kernel settings and the engines that work here, for this user, and compares them with what a
config needs, or with the defaults where none is given. It says what each thing costs as it is, and the command that mends
it. It changes nothing. Exit code 1 means that ebb could not do what the config says.`,
		Example: `  ebb doctor -c /etc/ebb/ebb.toml
  ebb doctor --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := doctorConfig(file)
			if err != nil {
				return err
			}
			found := doctor.ThisMachine().Examine(lb.Needs(conf))
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), found)
			} else {
				err = writeFindings(cmd.OutOrStdout(), found)
			}
			for _, f := range found {
				if f.State == doctor.Bad {
					err = errors.Join(err, fmt.Errorf("doctor: %s: %s", f.Name, f.Found))
				}
			}
			return err
		},
	}
	cmd.Flags().VarP(fileValue{&file}, "config", "c", "the TOML file whose needs count")
	_ = cmd.MarkFlagFilename("config", "toml") // there is such a flag
	cmd.Flags().BoolVar(&asJSON, "json", false, "the findings as a list, for scripts")
	cmd.SetFlagErrorFunc(flagError)
	return cmd
}

// doctorConfig reads the file, or makes a config of one listener with the defaults.
func doctorConfig(file string) (*config.Config, error) {
	if file != "" {
		return config.Load(file, &config.Flags{})
	}
	return leastConfig()
}

func writeFindings(out io.Writer, found []doctor.Finding) error {
	w := &errorWriter{w: out}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range found {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.State, f.Name, f.Found)
		if f.State == doctor.OK && f.Cost == "" {
			continue
		}
		if f.Cost != "" {
			fmt.Fprintf(t, "\t\tcost: %s\n", f.Cost)
		}
		if f.Fix != "" {
			fmt.Fprintf(t, "\t\tmend: %s\n", f.Fix)
		}
	}
	_ = t.Flush() // w keeps the error
	return w.err
}
