// Package doctor looks at what a machine gives to a balancer: limits, kernel settings, engines. It finds, says what each
// thing costs as it is, and names the command that mends it. It never changes anything.
//
// What it reads comes through a Machine, so that findings can be tested on machines that are not there. It knows nothing of
// configs and peers.
package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
)

// Needs is what a balancer is about to use.
type Needs struct {
	Sessions int    // TCP sessions and UDP flows at a time, at most; 0 is no limit
	Flows    int    // of these, UDP flows from one address of this machine, at most; 0 is no limit, or none
	Loops    int    // relay loops
	Engine   string // auto, uring, epoll, portable
	LowPorts []int  // ports below 1024 to listen on
}

// State is how grave a finding is.
type State string

// The states. Only Bad keeps a balancer from what it was told to do.
const (
	OK   State = "ok"
	Warn State = "warn"
	Bad  State = "bad"
)

// Finding is one thing that was looked at.
type Finding struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Found string `json:"found"`
	Cost  string `json:"cost,omitempty"` // what it costs as it is; empty if nothing
	Fix   string `json:"fix,omitempty"`  // the command, or the line of the unit, that mends it
}

// Machine is what is looked at.
type Machine struct {
	Proc        fs.FS                                  // /proc
	Descriptors func() (soft, hard uint64, err error)  // RLIMIT_NOFILE
	Memlock     func() (soft uint64, err error)        // RLIMIT_MEMLOCK
	MayBindLow  func() bool                            // CAP_NET_BIND_SERVICE
	Open        func(engine string, loops int) error   // opens an engine, tries it, and closes it
	Kernel      func() (major, minor int, text string) // zero where there is none
}

// Examine looks at everything, in an order that reads well.
func (m Machine) Examine(n Needs) []Finding {
	list := []Finding{m.Budget(n)}
	for _, look := range []func(Needs) (Finding, bool){
		m.engine, m.memlock, m.lowPorts, m.sourcePorts, m.listenQueue, m.pipes, m.conntrack,
	} {
		if f, ok := look(n); ok {
			list = append(list, f)
		}
	}
	return list
}

// each session has a descriptor towards its client and one towards its peer; loops, logs, checks and DNS have the rest.
func descriptorsFor(n Needs) uint64 { return 2*uint64(n.Sessions) + 64*uint64(max(n.Loops, 1)) + 256 }

// Budget compares the limit of descriptors with what the sessions need.
func (m Machine) Budget(n Needs) Finding {
	f := Finding{Name: "descriptors", State: OK}
	soft, hard, err := m.Descriptors()
	if err != nil {
		return Finding{Name: f.Name, State: Warn, Found: err.Error()}
	}
	f.Found = fmt.Sprintf("%d of at most %d", soft, hard)
	if need := descriptorsFor(n); n.Sessions > 0 && soft < need {
		f.State = Warn
		f.Found += fmt.Sprintf(", %d sessions need %d", n.Sessions, need)
		f.Cost = fmt.Sprintf("accepting pauses at about %d sessions", (soft-min(soft, need-2*uint64(n.Sessions)))/2)
		f.Fix = fmt.Sprintf("LimitNOFILE=%d in the unit, or: ulimit -n %d", need, need)
	}
	return f
}

func (m Machine) engine(n Needs) (Finding, bool) {
	f := Finding{Name: "engine", State: OK}
	if n.Engine == "portable" {
		f.Found, f.Cost = "portable, as told", "about twice the CPU for a session"
		return f, true
	}
	if n.Engine == "epoll" {
		f.Found = "epoll, as told"
		if err := m.Open("epoll", 1); err != nil {
			f.State, f.Found, f.Fix = Bad, "epoll: "+err.Error(), "--engine auto"
		}
		return f, true
	}
	major, minor, _ := m.Kernel()
	if major == 0 {
		f.Found = "portable, the only one on this system"
		return f, true
	}
	err := m.Open("uring", 1)
	if err == nil {
		f.Found = "uring works"
		return f, true
	}
	f.State, f.Found = Warn, "uring: "+err.Error()
	if n.Engine == "uring" {
		f.State = Bad
	}
	f.Cost = "ebb runs on epoll: more CPU for small messages and connects"
	if err := m.Open("epoll", 1); err != nil {
		f.Found += "; epoll: " + err.Error()
		f.Cost = "ebb runs on the portable relay: about twice the CPU for a session"
	}
	if v, ok := m.number("sys/kernel/io_uring_disabled"); ok && v != 0 {
		f.Fix = "sysctl -w kernel.io_uring_disabled=0"
	} else if major < 6 {
		f.Fix = fmt.Sprintf("a kernel from 6.0 on; this is %d.%d", major, minor)
	} else if errors.Is(err, syscall.ENOMEM) {
		f.Fix = lockMore(n)
	} else {
		f.Fix = "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp filter of the container or unit"
	}
	return f, true
}

// lockMore raises RLIMIT_MEMLOCK.
func lockMore(n Needs) string { return fmt.Sprintf("LimitMEMLOCK=%dM in the unit", max(n.Loops, 1)) }

// Rings count against RLIMIT_MEMLOCK until Linux 5.12 and again from 6.14 on, but for who has CAP_IPC_LOCK. One loop takes less
// than 256 KiB (6.18).
func (m Machine) memlock(n Needs) (Finding, bool) {
	major, minor, text := m.Kernel()
	free := major == 5 && minor >= 12 || major == 6 && minor < 14
	if major == 0 || free || n.Engine == "portable" || n.Engine == "epoll" {
		return Finding{}, false
	}
	soft, err := m.Memlock()
	if err != nil {
		return Finding{}, false
	}
	f := Finding{Name: "locked memory", State: OK, Found: fmt.Sprintf("%d KiB, Linux %s", soft>>10, text)}
	if need := uint64(max(n.Loops, 1)) << 20; soft < need {
		f.State, f.Cost = Warn, "rings may be refused; ebb then runs on epoll"
		f.Fix = lockMore(n)
	}
	return f, true
}

func (m Machine) lowPorts(n Needs) (Finding, bool) {
	if len(n.LowPorts) == 0 {
		return Finding{}, false
	}
	f := Finding{Name: "ports below 1024", State: OK, Found: fmt.Sprint(n.LowPorts, ", allowed")}
	first, ok := m.number("sys/net/ipv4/ip_unprivileged_port_start")
	if !ok {
		first = 1024
	}
	lowest := n.LowPorts[0]
	for _, p := range n.LowPorts {
		lowest = min(lowest, p)
	}
	if uint64(lowest) < first && !m.MayBindLow() {
		f.State, f.Found = Bad, fmt.Sprint(n.LowPorts, ", not allowed to this user")
		f.Cost = "ebb cannot listen there"
		f.Fix = fmt.Sprintf("AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or: sysctl -w net.ipv4.ip_unprivileged_port_start=%d", lowest)
	}
	return f, true
}

func (m Machine) sourcePorts(n Needs) (Finding, bool) {
	v, ok := m.numbers("sys/net/ipv4/ip_local_port_range")
	if !ok || len(v) != 2 || v[1] < v[0] {
		return Finding{}, false
	}
	ports := v[1] - v[0] + 1
	f := Finding{Name: "source ports", State: OK, Found: fmt.Sprintf("%d to %d", v[0], v[1])}
	var costs, fixes []string
	const widen = `sysctl -w net.ipv4.ip_local_port_range="1024 65535"`
	if n.Sessions > 0 && ports < uint64(n.Sessions) {
		costs = append(costs, fmt.Sprintf("at most %d sessions to one peer at a time, those in TIME_WAIT included; then they end with no_source_port", ports))
		fixes = []string{widen, "or more peers"}
	}
	if n.Flows > 0 && ports < uint64(n.Flows) { // TCP shares a port between peers; UDP does not
		costs = append(costs, fmt.Sprintf("at most %d UDP flows from one address at a time, to all peers together; then they end with no_source_port", ports))
		fixes = []string{widen, "or several addresses as socket.source of UDP pools"}
	}
	if len(costs) > 0 {
		f.State, f.Cost, f.Fix = Warn, strings.Join(costs, "; "), strings.Join(fixes, ", ")
	}
	return f, true
}

func (m Machine) listenQueue(Needs) (Finding, bool) {
	v, ok := m.number("sys/net/core/somaxconn")
	if !ok {
		return Finding{}, false
	}
	f := Finding{Name: "listen queue", State: OK, Found: fmt.Sprint("at most ", v)}
	if v < 4096 {
		f.State = Warn
		f.Cost = "a burst of connections beyond that is delayed by a second or more"
		f.Fix = "sysctl -w net.core.somaxconn=4096"
	}
	return f, true
}

// pipesForSplice are the pages of 32 pipes of 1 MiB for each loop, half of what bulk streams borrow at most (lb/internal/engine).
// Beyond a user's limit pipes are small, and splicing goes on.
const pipesForSplice = 32 << 20 / 4096

func (m Machine) pipes(n Needs) (Finding, bool) {
	v, ok := m.number("sys/fs/pipe-user-pages-soft")
	if !ok || n.Engine == "portable" {
		return Finding{}, false
	}
	f := Finding{Name: "pipes for bulk", State: OK, Found: fmt.Sprint(v, " pages for each unprivileged user")}
	if v == 0 {
		f.Found = "no limit"
	} else if need := uint64(pipesForSplice * max(n.Loops, 1)); v < need {
		f.State = Warn
		f.Cost = fmt.Sprintf("beyond about %d large streams at once, their pipes are small", v/256)
		f.Fix = fmt.Sprintf("sysctl -w fs.pipe-user-pages-soft=%d", need)
	}
	return f, true
}

// conntrack is there only where its module is loaded. Each session is two connections.
func (m Machine) conntrack(n Needs) (Finding, bool) {
	most, ok := m.number("sys/net/netfilter/nf_conntrack_max")
	if !ok {
		return Finding{}, false
	}
	used, _ := m.number("sys/net/netfilter/nf_conntrack_count")
	f := Finding{Name: "conntrack", State: OK, Found: fmt.Sprintf("%d of %d entries", used, most)}
	if need := 2 * uint64(n.Sessions); n.Sessions > 0 && most < used+need || used*10 > most*9 {
		f.State = Warn
		f.Cost = "a full table drops new connections, silently for ebb and its clients"
		f.Fix = fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d, or notrack for ebb's ports", max(used+need, most)*2)
	}
	return f, true
}

func (m Machine) number(path string) (uint64, bool) {
	v, ok := m.numbers(path)
	if !ok || len(v) == 0 {
		return 0, false
	}
	return v[0], true
}

// numbers reads a file of numbers; false if it is not there, or says something else.
func (m Machine) numbers(path string) (list []uint64, ok bool) {
	text, err := fs.ReadFile(m.Proc, path)
	if err != nil {
		return nil, false
	}
	for word := range strings.FieldsSeq(string(text)) {
		v, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return nil, false
		}
		list = append(list, v)
	}
	return list, true
}
