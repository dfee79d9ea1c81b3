package check

import (
	"errors"
	"fmt"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Options say how to probe. Those of equal values on one target share a probe.
type Options struct {
	Kind          string        // what to speak, one of the kinds below
	Interval      time.Duration // from the start of one probe to the start of the next, ±10 %
	Timeout       time.Duration // for one probe
	FastInterval  time.Duration // replaces Interval while the state is unknown or about to change, if shorter
	Fall          int           // failures in a row that make an up target down, at least 1
	Rise          int           // passes in a row that make a down target up, at least 1
	RefusedIsDown bool          // a refused connection counts as Fall failures

	Port   uint16       // to ask, at the target's address; 0: the target's own
	Socket sock.Options // of the connection to the target
	Proxy  string       // "v1", "v2": a PROXY protocol header comes first; "" or "off": none
	TLS    TLS

	User         string // who to be for "postgres", "mysql" and "redis"; "": nobody, or for "redis" the default user
	PasswordFile string // has the password, and one line break at most; "": none
	Database     string // for "postgres"; "": postgres

	Protocol string   // for "send_expect" and "dns": "tcp" or "udp"; "": tcp for the first, udp for the other
	Steps    []Step   // for "send_expect"
	Command  []string // for "exec": a program and its first arguments
	DNS      DNS      // for "dns"
	HTTP     HTTP     // for "http"
	Sentinel Sentinel // for "redis"
}

func (o Options) validate() error {
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", o.Interval}, {"timeout", o.Timeout}, {"fast interval", o.FastInterval}} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s %v: must be above zero", d.name, d.value))
		}
	}
	if o.Fall < 1 {
		errs = append(errs, fmt.Errorf("fall %d: must be at least 1", o.Fall))
	}
	if o.Rise < 1 {
		errs = append(errs, fmt.Errorf("rise %d: must be at least 1", o.Rise))
	}
	return errors.Join(errs...)
}

// key is equal for equal options.
func (o Options) key() string { return fmt.Sprintf("%#v", o) } // quoted and named, so that no two values look alike
