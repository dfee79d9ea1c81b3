package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// redis is the "redis" kind, for Valkey too: the role that a server has by its own word, and with sentinels by theirs.
type redis struct {
	way       *way
	from      Options
	sentinels *sentinels // nil: nobody else is asked
}

func newRedis(o Options) (probeFunc, error) {
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	r := &redis{way: w, from: o}
	if len(o.Sentinel.Addrs) > 0 {
		if r.sentinels, err = newSentinels(o); err != nil {
			return nil, err
		}
	}
	return r.ask, nil
}

func (r *redis) ask(ctx context.Context, target netip.AddrPort) Result {
	start := time.Now()
	result, err := r.role(ctx, target)
	if err != nil {
		return redisFailed(err)
	}
	result.Latency = time.Since(start)
	if result.Role == Primary && r.sentinels != nil {
		r.sentinels.judge(ctx, target, &result)
	}
	return result
}

// login connects and says who asks. The caller leaves the connection.
func login(ctx context.Context, w *way, target netip.AddrPort, user, passwordFile string) (link, *resp, error) {
	password, err := readSecret(passwordFile)
	if err != nil {
		return nil, nil, err
	}
	c, err := w.open(ctx, target)
	if err != nil {
		return nil, nil, err
	}
	s := newResp(c)
	words := []string{"AUTH", user, password}
	if user == "" { // also what servers before 6 know
		words = []string{"AUTH", password}
	}
	if password != "" {
		if _, err := s.ask(words...); err != nil {
			leave(c)
			return nil, nil, err
		}
	}
	return c, s, nil
}

// role asks the server itself.
func (r *redis) role(ctx context.Context, target netip.AddrPort) (Result, error) {
	c, s, err := login(ctx, r.way, target, r.from.User, r.from.PasswordFile)
	if err != nil {
		return Result{}, err
	}
	defer leave(c)
	reply, err := s.ask("ROLE")
	if err != nil {
		return Result{}, err
	}
	list, _ := reply.([]any)
	switch {
	case len(list) >= 2 && list[0] == "master":
		return Result{Alive: true, Reason: OK, Role: Primary, LagKnown: true}, nil
	case len(list) >= 5 && list[0] == "slave":
		result := Result{Alive: true, Reason: OK, Role: Replica}
		if state, _ := list[3].(string); state != "connected" {
			result.Detail = "its link to the primary is " + quote(state)
			return result, nil
		}
		info, err := s.ask("INFO", "replication")
		var no respError
		if errors.As(err, &no) {
			result.Detail = "lag unknown: " + no.Error()
			return result, nil
		}
		if err != nil {
			return Result{}, err
		}
		text, _ := info.(string)
		result.Lag, result.LagKnown = redisLag(text)
		return result, nil
	case len(list) >= 1 && list[0] == "sentinel":
		return Result{}, &failure{Unexpected, errors.New("this is a Sentinel, not a server of data")}
	}
	return Result{}, &failure{Garbled, fmt.Errorf("ROLE gave %s", quote(fmt.Sprint(reply)))}
}

// pingPeriod is how often a primary without news still says something (repl-ping-replica-period, 10 s by default).
const pingPeriod = 10 * time.Second

// redisLag is how far a replica is behind by its own word: nothing as long as its primary talks to it.
func redisLag(info string) (time.Duration, bool) {
	for line := range strings.SplitSeq(info, "\n") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "master_last_io_seconds_ago:"); ok {
			seconds, err := strconv.ParseUint(text, 10, 31)
			silent := time.Duration(seconds) * time.Second
			if silent <= pingPeriod {
				silent = 0
			}
			return silent, err == nil
		}
	}
	return 0, false
}

// redisFailed is what an error means, be it the server's own.
func redisFailed(err error) Result {
	var said respError
	if !errors.As(err, &said) {
		return failed(err)
	}
	r := Result{Detail: said.Error()}
	switch word, _, _ := strings.Cut(string(said), " "); {
	case word == "LOADING", word == "MASTERDOWN", word == "BUSY", word == "CLUSTERDOWN":
		r.Reason = Unready
	case word == "NOAUTH", word == "WRONGPASS", word == "NOPERM", word == "DENIED":
		r.Reason = Denied
	case strings.Contains(string(said), "max number of clients"):
		r.Alive, r.Full, r.Reason = true, true, TooBusy
	case strings.Contains(string(said), "AUTH"), strings.Contains(string(said), "invalid password"): // before 6
		r.Reason = Denied
	default:
		r.Reason = Unexpected
	}
	return r
}
