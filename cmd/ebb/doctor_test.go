package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/doctor"
)

func TestDoctor(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"doctor"}, &out, &errs); code != exitDone || !strings.Contains(out.String(), "descriptors") {
		t.Errorf("exit %d: %s%s", code, out.String(), errs.String())
	}
	out.Reset()
	var list []doctor.Finding
	if code := run(context.Background(), []string{"doctor", "--json"}, &out, &errs); code != exitDone {
		t.Errorf("exit %d: %s", code, errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), &list); err != nil || len(list) < 2 || list[0].Name != "descriptors" {
		t.Errorf("%v %s", err, out.String())
	}
	errs.Reset()
	if code := run(context.Background(), []string{"doctor", "-c", filepath.Join(t.TempDir(), "none.toml")}, &out, &errs); code != exitUsage {
		t.Errorf("exit %d: %s", code, errs.String())
	}
	file := filepath.Join(t.TempDir(), "ebb.toml")
	text := "[[listener]]\nname = \"a\"\nlisten = \"tcp://127.0.0.1:15000\"\npool = \"p\"\nmax_conns = 1000000\n[[pool.p.backend]]\nhost = \"127.0.0.1\"\nport = 1\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if code := run(context.Background(), []string{"doctor", "-c", file}, &out, &errs); code != exitDone || !strings.Contains(out.String(), "mend: sysctl -w net.ipv4.ip_local_port_range") {
		t.Errorf("exit %d: %s%s", code, out.String(), errs.String())
	}
}
