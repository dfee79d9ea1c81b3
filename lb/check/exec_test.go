package check

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func runScript(t *testing.T, text string, timeout time.Duration) Result {
	t.Helper()
	return probeOnce(t, Options{Kind: "exec", Timeout: timeout, Command: []string{"/bin/sh", "-c", text, "check", "own"}}, netip.MustParseAddrPort("192.0.2.7:5432"))
}

func TestExecProbe(t *testing.T) {
	wantReason(t, runScript(t, "exit 0", 0), OK)
	wantReason(t, runScript(t, "echo disk full >&2; exit 3", 0), SaysDown, "exit status 3", "disk full")
	wantReason(t, runScript(t, "kill -9 $$", 0), SaysDown, "killed")
	wantReason(t, runScript(t, `[ "$*" = "own NOT_USED NOT_USED 192.0.2.7 5432" ] || { echo "$*"; exit 1; }`, 0), OK)
	wantReason(t, runScript(t, `[ "$HAPROXY_SERVER_ADDR:$HAPROXY_SERVER_PORT $HAPROXY_SERVER_NAME" = "192.0.2.7:5432 192.0.2.7:5432" ] || exit 1`, 0), OK)
	r := runScript(t, "echo role=replica lag=1.5s timeline=3 as of now; echo role=primary", 0)
	if r.Role != Replica || r.Lag != 1500*time.Millisecond || !r.LagKnown || r.Timeline != 3 {
		t.Errorf("%+v", r)
	}
	if r := runScript(t, "echo role=boss lag=long", 0); !r.Alive || r.Role != RoleUnknown || r.LagKnown {
		t.Errorf("%+v", r)
	}
	wantReason(t, probeOnce(t, Options{Kind: "exec", Command: []string{"/no/such/program"}}, here), Error, "no such file")
	if _, err := newExec(Options{}); err == nil {
		t.Error("no command is taken")
	}
}

// What hangs is killed, with all that it started; what floods is read and dropped; what is left behind goes too.
func TestExecProbeLeavesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	gone := func(what string) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
			if stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); strings.Contains(string(stat), ") Z ") {
				break // its new parent has not asked for it yet
			}
			if time.Now().After(end) {
				t.Fatalf("%s: its child lives", what)
			}
		}
	}
	for timeout := 500 * time.Millisecond; ; timeout *= 2 { // it is to have come so far, however slow the machine is
		wantReason(t, runScript(t, "sleep 1000 & echo $! > "+file+"; trap '' TERM; sleep 1000", timeout), Timeout, "killed")
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			break
		}
	}
	gone("a program that hangs")
	wantReason(t, runScript(t, "sleep 1000 & echo $! > "+file+"; exit 0", 0), OK)
	gone("a program that leaves a child behind")
	r := runScript(t, "while :; do echo 0123456789012345678901234567890123456789; done", 500*time.Millisecond)
	wantReason(t, r, Timeout)
	if len(r.Detail) > 400 {
		t.Errorf("a detail of %d bytes", len(r.Detail))
	}
}
