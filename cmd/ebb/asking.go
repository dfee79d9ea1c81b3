package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// askTimeout bounds a question to a running ebb.
const askTimeout = 5 * time.Second

// What the environment may say once for all verbs that ask a running ebb.
const (
	adminVariable = "EBB_ADMIN"
	tokenVariable = "EBB_ADMIN_TOKEN_FILE"
)

// adminFlags are the flags of every verb that asks a running ebb.
type adminFlags struct {
	addr      string
	tokenFile string
	token     string // if there is no file
	asJSON    bool
}

func (a *adminFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.addr, "admin", cmp.Or(os.Getenv(adminVariable), flagDefaults()["admin"]),
		"where the running ebb serves its API: `ADDRESS`:PORT or unix:PATH; $"+adminVariable+" says it for all verbs")
	cmd.Flags().StringVar(&a.tokenFile, "admin-token-file", os.Getenv(tokenVariable),
		"ask with the token in this `FILE`; $"+tokenVariable+" says it for all verbs")
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
	if err := a.usable(cmd); err != nil {
		return err
	}
	err := f(ctx, admin.NewClient(a.addr, a.token))
	var transport *url.Error
	var refused *admin.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		return fmt.Errorf("%s: %w; give the file of one with --admin-token-file", cmd.Name(), err)
	case !errors.As(err, &transport): // it answered, and says so itself
		return fmt.Errorf("%s: %w", cmd.Name(), err)
	}
	return fmt.Errorf("%s: cannot reach %s (%w): %s", cmd.Name(), a.addr, unreachable{transport}, remedy(transport))
}

// remedy says what to do where nobody answers.
func remedy(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("user %d may not; ask as root, as the user that ebb runs as, or as one whom [admin] group and mode let in", os.Getuid())
	}
	return "is ebb running? give --admin if it listens elsewhere"
}

// usable says what is wrong with the flags, and reads the token.
func (a *adminFlags) usable(cmd *cobra.Command) error {
	host, port, err := net.SplitHostPort(a.addr)
	number, notNumber := strconv.ParseUint(port, 10, 16)
	if path, ok := strings.CutPrefix(a.addr, "unix:"); (!ok || path == "") && (err != nil || host == "" || notNumber != nil || number == 0) {
		meant := ""
		switch {
		case strings.HasPrefix(a.addr, "/"):
			meant = "unix:" + a.addr
		case host == "" && number > 0:
			meant = "127.0.0.1" + a.addr
		}
		if meant != "" {
			meant = fmt.Sprintf(": did you mean %s?", meant)
		}
		return usagef("%s: --admin: found %q, expected ADDRESS:PORT, such as %s, or unix:PATH%s", cmd.Name(), a.addr, flagDefaults()["admin"], meant)
	}
	if a.tokenFile == "" {
		return nil
	}
	token, err := config.ReadToken(a.tokenFile)
	if err != nil {
		return usagef("%s: --admin-token-file %s: %w", cmd.Name(), a.tokenFile, err)
	}
	a.token = string(token)
	return nil
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
