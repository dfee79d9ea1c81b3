package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/cmd/ebb/internal/migrate"
	"github.com/ebb-lb/ebb/lb/config"
)

// importFlags are what import is told besides the files.
type importFlags struct {
	from, out string
	partial   bool
}

func newImportCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import FILE... [flags]",
		Short: "Make a config of haproxy.cfg or nginx.conf",
		Long: `import says in ebb's words what a config of HAProxy or nginx says about TCP and UDP: frontends, backends and servers of mode
tcp, and what stands in stream { }. What comes out passes check. What ebb cannot do is refused, each word with its place, and
nothing is written; --partial leaves it out, with a comment, and along with it each listener that would then let in, or send on,
what it must not. What ebb does in another way is noted. Of HAProxy there may be several files, in HAProxy's order; nginx includes its
own. docs/migrating.md has tables of words.`,
		Example: `  ebb import /etc/haproxy/haproxy.cfg
  ebb import /etc/nginx/nginx.conf --partial -o ebb.toml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("import: give a file, such as /etc/haproxy/haproxy.cfg")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	cmd.Flags().StringVar(&f.from, "from", "", "whose config it is: haproxy or nginx; by default what it looks like")
	cmd.Flags().BoolVar(&f.partial, "partial", false, "leave out what cannot be carried over")
	cmd.Flags().VarP(fileValue{&f.out}, "output", "o", "write to this new file instead of stdout")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]cobra.Completion{"haproxy", "nginx"}, cobra.ShellCompDirectiveNoFileComp)) // there is such a flag
	cmd.SetFlagErrorFunc(flagError)
	return cmd
}

func (f *importFlags) run(cmd *cobra.Command, args []string) error {
	var inputs []migrate.Input
	for _, name := range args {
		in, err := readInput(name)
		if err != nil {
			return config.Problems{{File: name, Text: err.Error()}}
		}
		inputs = append(inputs, in)
	}
	from := f.from
	if from == "" {
		from = migrate.Program(inputs[0].Text)
	}
	var result *migrate.Result
	switch {
	case from == "haproxy":
		result = migrate.HAProxy(inputs, os.LookupEnv)
	case from != "nginx":
		return usagef("import: --from: found %q, expected haproxy or nginx", from)
	case len(inputs) > 1:
		return usagef("import: found %d files of nginx, expected the one that includes the others", len(inputs))
	default:
		result = migrate.Nginx(inputs[0], included)
	}
	for _, note := range result.Notes {
		note.Text = "note: " + note.Text
		fmt.Fprintln(cmd.ErrOrStderr(), note)
	}
	if len(result.Refused) > 0 && (!f.partial || result.TOML == "") {
		return refusals(result, f.partial)
	}
	return f.write(cmd.OutOrStdout(), result)
}

// refusals is the error that has what cannot be carried over.
func refusals(result *migrate.Result, partial bool) config.Problems {
	var problems config.Problems
	for _, r := range result.Refused {
		problems = append(problems, config.Problem{File: r.File, Line: r.Line, Key: r.What, Text: r.Text})
	}
	if !partial && result.TOML != "" {
		problems = append(problems, config.Problem{Text: "import: nothing is written; --partial leaves out what is refused"})
	}
	return problems
}

func (f *importFlags) write(out io.Writer, result *migrate.Result) (err error) {
	var b strings.Builder
	for _, r := range result.Refused {
		fmt.Fprintf(&b, "# not carried over: %s\n", r)
	}
	if len(result.Refused) > 0 {
		b.WriteByte('\n')
	}
	b.WriteString(result.TOML)
	if f.out == "" {
		_, err := io.WriteString(out, b.String())
		return err
	}
	file, err := os.OpenFile(f.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	_, err = file.WriteString(b.String())
	return errors.Join(err, file.Close())
}

// maxImport bounds a file that is read, in bytes.
const maxImport = 4 << 20

func readInput(name string) (migrate.Input, error) {
	file, err := os.Open(name)
	if err != nil {
		return migrate.Input{}, cause(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxImport+1))
	if err != nil {
		return migrate.Input{}, cause(err)
	}
	if len(text) > maxImport {
		return migrate.Input{}, fmt.Errorf("found more than %d MiB, expected a config", maxImport>>20)
	}
	return migrate.Input{Name: name, Text: string(text)}, nil
}

// cause is an error without the path, which stands before it anyway.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// included gives the files that nginx includes by a path or a pattern; a pattern may stand for none.
func included(pattern string) (list []migrate.Input, err error) {
	names := []string{pattern}
	if strings.ContainsAny(pattern, "*?[") {
		if names, err = filepath.Glob(pattern); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		in, readErr := readInput(name)
		if readErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, readErr))
			continue
		}
		list = append(list, in)
	}
	return list, err
}
