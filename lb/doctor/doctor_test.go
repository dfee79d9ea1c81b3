package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

var errNo = errors.New("operation not permitted")

// machine is one on which nothing is wrong, for 10000 sessions.
func machine() (Machine, fstest.MapFS) {
	proc := fstest.MapFS{}
	write := func(name, text string) { proc[name] = &fstest.MapFile{Data: []byte(text)} }
	write("sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
	write("sys/net/ipv4/ip_unprivileged_port_start", "1024\n")
	write("sys/net/core/somaxconn", "4096\n")
	write("sys/fs/pipe-user-pages-soft", "16384\n")
	write("sys/kernel/io_uring_disabled", "0\n")
	return Machine{
		Proc:        proc,
		Descriptors: func() (uint64, uint64, error) { return 1 << 20, 1 << 20, nil },
		Memlock:     func() (uint64, error) { return 8 << 20, nil },
		MayBindLow:  func() bool { return false },
		Open:        func(string, int) error { return nil },
		Kernel:      func() (int, int, string) { return 6, 18, "6.18.0" },
	}, proc
}

func find(list []Finding, name string) (Finding, bool) {
	i := slices.IndexFunc(list, func(f Finding) bool { return f.Name == name })
	if i < 0 {
		return Finding{}, false
	}
	return list[i], true
}

func TestAWellMachineLacksNothing(t *testing.T) {
	m, _ := machine()
	list := m.Examine(Needs{Sessions: 10000, Loops: 2, Engine: "auto", LowPorts: nil})
	if len(list) != 6 {
		t.Errorf("%d findings: %v", len(list), list)
	}
	for _, f := range list {
		if f.State != OK || f.Cost != "" || f.Fix != "" || f.Found == "" {
			t.Errorf("%+v", f)
		}
	}
}

func TestWhatAMachineLacks(t *testing.T) {
	file := func(name, text string) func(*Machine, fstest.MapFS) {
		return func(_ *Machine, proc fstest.MapFS) { proc[name] = &fstest.MapFile{Data: []byte(text)} }
	}
	refuses := func(engines string) func(*Machine, fstest.MapFS) {
		return func(m *Machine, _ fstest.MapFS) {
			m.Open = func(engine string, _ int) error {
				if strings.Contains(engines, engine) {
					return errNo
				}
				return nil
			}
		}
	}
	all := func(changes ...func(*Machine, fstest.MapFS)) func(*Machine, fstest.MapFS) {
		return func(m *Machine, proc fstest.MapFS) {
			for _, c := range changes {
				c(m, proc)
			}
		}
	}
	usual := Needs{Sessions: 10000, Loops: 2, Engine: "auto"}
	for _, c := range []struct {
		what             string
		change           func(*Machine, fstest.MapFS)
		needs            Needs
		name             string
		state            State
		found, cost, fix string
	}{
		{"few descriptors", func(m *Machine, _ fstest.MapFS) {
			m.Descriptors = func() (uint64, uint64, error) { return 1024, 4096, nil }
		}, usual, "descriptors", Warn, "10000 sessions need 20384", "about 320 sessions", "LimitNOFILE=20384"},
		{"no descriptors to speak of", func(m *Machine, _ fstest.MapFS) {
			m.Descriptors = func() (uint64, uint64, error) { return 64, 64, nil }
		}, usual, "descriptors", Warn, "64 of at most 64", "about 0 sessions", "ulimit -n"},
		{"no limit of sessions", nil, Needs{Loops: 2, Engine: "auto"}, "descriptors", OK, "1048576", "", ""},
		{"uring forbidden by sysctl", all(refuses("uring"), file("sys/kernel/io_uring_disabled", "2\n")), usual,
			"engine", Warn, "not permitted", "epoll", "io_uring_disabled=0"},
		{"uring forbidden by a filter", refuses("uring"), usual, "engine", Warn, "not permitted", "epoll", "seccomp"},
		{"uring wanted and forbidden", refuses("uring"), Needs{Engine: "uring"}, "engine", Bad, "not permitted", "", ""},
		{"epoll as told", nil, Needs{Engine: "epoll"}, "engine", OK, "as told", "", ""},
		{"epoll wanted and forbidden", refuses("epoll"), Needs{Engine: "epoll"}, "engine", Bad, "not permitted", "", "auto"},
		{"neither", refuses("uring epoll"), usual, "engine", Warn, "epoll: operation", "portable", ""},
		{"portable as told", nil, Needs{Engine: "portable"}, "engine", OK, "as told", "twice", ""},
		{"old kernel", all(refuses("uring"), func(m *Machine, _ fstest.MapFS) {
			m.Kernel = func() (int, int, string) { return 5, 15, "5.15.0" }
		}), usual, "engine", Warn, "", "epoll", "from 6.0 on; this is 5.15"},
		{"another system", func(m *Machine, _ fstest.MapFS) {
			m.Kernel = func() (int, int, string) { return 0, 0, "" }
			m.Open = func(string, int) error { panic("nothing to open") }
		}, usual, "engine", OK, "the only one", "", ""},
		{"locked memory on old kernels", func(m *Machine, _ fstest.MapFS) {
			m.Kernel = func() (int, int, string) { return 5, 11, "5.11.1" }
			m.Memlock = func() (uint64, error) { return 64 << 10, nil }
		}, usual, "locked memory", Warn, "64 KiB", "rings", "LimitMEMLOCK=2M"},
		{"locked memory on new kernels", func(m *Machine, _ fstest.MapFS) {
			m.Memlock = func() (uint64, error) { return 64 << 10, nil }
		}, usual, "locked memory", Warn, "64 KiB, Linux 6.18.0", "rings", "LimitMEMLOCK=2M"},
		{"no memory for a ring", func(m *Machine, _ fstest.MapFS) {
			m.Open = func(engine string, _ int) error {
				if engine == "uring" {
					return fmt.Errorf("io_uring_setup: %w", syscall.ENOMEM)
				}
				return nil
			}
		}, usual, "engine", Warn, "cannot allocate memory", "epoll", "LimitMEMLOCK=2M"},
		{"low port without the right", nil, Needs{LowPorts: []int{443, 53}}, "ports below 1024", Bad, "[443 53]", "cannot listen", "port_start=53"},
		{"low port with the right", func(m *Machine, _ fstest.MapFS) { m.MayBindLow = func() bool { return true } },
			Needs{LowPorts: []int{53}}, "ports below 1024", OK, "[53], allowed", "", ""},
		{"low port that everybody may", file("sys/net/ipv4/ip_unprivileged_port_start", "0\n"), Needs{LowPorts: []int{53}},
			"ports below 1024", OK, "allowed", "", ""},
		{"few source ports", file("sys/net/ipv4/ip_local_port_range", "50000 50999"), usual, "source ports", Warn, "50000 to 50999", "1000 sessions to one peer", "ip_local_port_range"},
		{"few source ports for flows", nil, Needs{Sessions: 40000, Flows: 30000, Engine: "auto"}, "source ports", Warn, "32768 to 60999",
			"28232 sessions to one peer at a time, those in TIME_WAIT included; then they end with no_source_port; at most 28232 UDP flows from one address", "socket.source"},
		{"enough source ports for flows", nil, Needs{Flows: 28232, Engine: "auto"}, "source ports", OK, "", "", ""},
		{"short listen queue", file("sys/net/core/somaxconn", "128"), usual, "listen queue", Warn, "128", "burst", "somaxconn=4096"},
		{"few pipe pages", file("sys/fs/pipe-user-pages-soft", "1024"), usual, "pipes for bulk", Warn, "1024", "4 large streams", "=16384"},
		{"no limit of pipe pages", file("sys/fs/pipe-user-pages-soft", "0"), usual, "pipes for bulk", OK, "no limit", "", ""},
		{"conntrack is nearly full", all(file("sys/net/netfilter/nf_conntrack_max", "30000"), file("sys/net/netfilter/nf_conntrack_count", "29000")),
			Needs{}, "conntrack", Warn, "29000 of 30000", "full table", "nf_conntrack_max=60000"},
		{"conntrack is too small", file("sys/net/netfilter/nf_conntrack_max", "10000"), usual, "conntrack", Warn, "0 of 10000", "full table", "=40000"},
	} {
		t.Run(c.what, func(t *testing.T) {
			m, proc := machine()
			if c.change != nil {
				c.change(&m, proc)
			}
			f, ok := find(m.Examine(c.needs), c.name)
			if !ok || f.State != c.state || !strings.Contains(f.Found, c.found) || !strings.Contains(f.Cost, c.cost) || !strings.Contains(f.Fix, c.fix) {
				t.Errorf("%t %+v", ok, f)
			}
			if (f.State == OK) != (f.Fix == "") {
				t.Errorf("state %s with fix %q", f.State, f.Fix)
			}
		})
	}
}

// What cannot be read, or is no number, is not judged.
func TestUnreadableSettingsAreLeftOut(t *testing.T) {
	m, proc := machine()
	proc["sys/net/core/somaxconn"] = &fstest.MapFile{Data: []byte("many")}
	proc["sys/net/ipv4/ip_local_port_range"] = &fstest.MapFile{Data: []byte("1")}
	proc["sys/fs/pipe-user-pages-soft"] = &fstest.MapFile{Mode: fs.ModeDir}
	m.Memlock = func() (uint64, error) { return 0, errNo }
	for _, name := range []string{"listen queue", "source ports", "pipes for bulk", "conntrack", "locked memory", "ports below 1024"} {
		if f, ok := find(m.Examine(Needs{Sessions: 1, Engine: "auto"}), name); ok {
			t.Errorf("%+v", f)
		}
	}
}

func TestThisMachine(t *testing.T) {
	list := ThisMachine().Examine(Needs{Sessions: 1, Loops: 1, Engine: "auto"})
	if f, ok := find(list, "engine"); !ok || f.Found == "" {
		t.Errorf("%+v", list)
	}
	if f, ok := find(list, "descriptors"); !ok || f.State != OK {
		t.Errorf("%+v", f)
	}
}
