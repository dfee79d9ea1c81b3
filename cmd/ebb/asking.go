package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
)

// askTimeout bounds a question to a running ebb.
const askTimeout = 5 * time.Second

// adminFlags are the flags of every verb that asks a running ebb.
type adminFlags struct {
	addr   string
	asJSON bool
}

func (a *adminFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.addr, "admin", flagDefaults()["admin"], "where the running ebb serves its API, as `ADDRESS:PORT`")
	cmd.Flags().BoolVar(&a.asJSON, "json", false, "the whole document, for scripts")
	cmd.SetFlagErrorFunc(flagError)
}

// ask lets f ask, for askTimeout, and says what to do where nobody answers.
func (a *adminFlags) ask(cmd *cobra.Command, f func(context.Context, *admin.Client) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), askTimeout)
	defer cancel()
	return a.reach(ctx, cmd, f)
}

// reach is ask for as long as ctx lasts.
func (a *adminFlags) reach(ctx context.Context, cmd *cobra.Command, f func(context.Context, *admin.Client) error) error {
	if host, port, err := net.SplitHostPort(a.addr); err != nil || host == "" || port == "" {
		return usagef("%s: --admin: found %q, expected ADDRESS:PORT, such as %s", cmd.Name(), a.addr, flagDefaults()["admin"])
	}
	err := f(ctx, admin.NewClient(a.addr))
	var transport *url.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &transport): // it answered, and says so itself
		return fmt.Errorf("%s: %w", cmd.Name(), err)
	}
	return fmt.Errorf("%s: cannot reach %s (%w): is ebb running? give --admin if it listens elsewhere", cmd.Name(), a.addr, unreachable{transport})
}

// unreachable is an error of the way to ebb, in the words of what went wrong there.
type unreachable struct{ err *url.Error }

func (u unreachable) Error() string { return u.err.Err.Error() }
func (u unreachable) Unwrap() error { return u.err }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// parsed is a flag whose text is judged when it is given.
type parsed[T any] struct {
	into  *T
	parse func(string) (T, error)
	shown string // placeholder in the usage
}

func (p *parsed[T]) Set(text string) (err error) {
	*p.into, err = p.parse(text)
	return err
}
func (p *parsed[T]) String() string { return "" }
func (p *parsed[T]) Type() string   { return p.shown }
