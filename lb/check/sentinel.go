package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Sentinel says who is asked, besides a Redis server that calls itself primary, whether it is.
type Sentinel struct {
	Addrs        []string // HOST:PORT of each; none: nobody. Names are looked up by the system
	Primary      string   // the name under which they watch it
	Quorum       int      // that have to agree; 0: more than half of Addrs
	User         string
	PasswordFile string
}

// sentinels asks them. TLS is as for the server, the port and the PROXY header are not.
type sentinels struct {
	Sentinel
	way *way
}

func newSentinels(o Options) (*sentinels, error) {
	s := &sentinels{Sentinel: o.Sentinel}
	if s.Quorum == 0 {
		s.Quorum = len(s.Addrs)/2 + 1
	}
	if s.Quorum < 1 || s.Quorum > len(s.Addrs) || s.Primary == "" {
		return nil, fmt.Errorf("sentinel quorum %d of %d for %q: cannot be", s.Quorum, len(s.Addrs), s.Primary)
	}
	var err error
	s.way, err = newWay(Options{TLS: o.TLS})
	return s, err
}

// judge corrects the role of a server that calls itself primary: if the quorum names another, it is one that has not heard
// of its demotion, or comes back from it. Without a quorum nothing is known, and what was known stays.
func (s *sentinels) judge(ctx context.Context, target netip.AddrPort, r *Result) {
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan answer, len(s.Addrs))
	for _, addr := range s.Addrs {
		go func() { answers <- s.ask(ctx, addr) }()
	}
	defer cancel()
	votes := make(map[netip.AddrPort]int)
	var troubles []string
	for n := range s.Addrs {
		a := <-answers
		if a.err != nil {
			troubles = append(troubles, oneLine(a.err.Error()))
			continue
		}
		votes[a.primary]++
		if votes[a.primary] < s.Quorum {
			continue
		}
		if a.primary != target {
			r.Role, r.LagKnown = Replica, false
			r.Detail = fmt.Sprintf("says primary, but %d sentinels name %v", votes[a.primary], a.primary)
		}
		cancel()
		for range len(s.Addrs) - n - 1 { // nobody is left behind
			<-answers
		}
		return
	}
	slices.Sort(troubles)
	r.Role, r.LagKnown = RoleUnknown, false
	r.Detail = oneLine(fmt.Sprintf("says primary, but no %d sentinels agree on one: %v %s", s.Quorum, votes, strings.Join(troubles, "; ")))
}

// answer is what one sentinel says.
type answer struct {
	primary netip.AddrPort
	err     error
}

func (s *sentinels) ask(ctx context.Context, addr string) answer {
	at, err := s.find(ctx, addr)
	if err != nil {
		return answer{err: fmt.Errorf("%s: %w", addr, err)}
	}
	c, conversation, err := login(ctx, s.way, at, s.User, s.PasswordFile)
	if err != nil {
		return answer{err: fmt.Errorf("%s: %w", addr, err)}
	}
	defer leave(c)
	reply, err := conversation.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.Primary)
	if err != nil {
		return answer{err: fmt.Errorf("%s: %w", addr, err)}
	}
	list, _ := reply.([]any)
	if len(list) != 2 {
		return answer{err: fmt.Errorf("%s: knows no %q", addr, s.Primary)}
	}
	host, _ := list[0].(string)
	port, _ := list[1].(string)
	primary, err := s.find(ctx, net.JoinHostPort(host, port))
	if err != nil {
		return answer{err: fmt.Errorf("%s: names %s: %w", addr, quote(host+":"+port), err)}
	}
	return answer{primary: primary}
}

// find is the address of HOST:PORT.
func (s *sentinels) find(ctx context.Context, hostPort string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return netip.AddrPort{}, errors.New("no port")
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return netip.AddrPort{}, err
		}
		ip = found[0]
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), nil
}
