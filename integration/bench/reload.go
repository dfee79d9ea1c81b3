package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// echoEverywhere is an echo on every address of this machine. It gives its port.
func (b *bench) echoEverywhere() (port uint16, err error) {
	addr, err := b.listen("0.0.0.0:0", echo)
	if err != nil {
		return 0, err
	}
	return netip.MustParseAddrPort(addr).Port(), nil
}

// somePool is a pool of n addresses of this machine, from the one with a number on.
func somePool(name string, port uint16, first, n int) string {
	var t strings.Builder
	fmt.Fprintf(&t, "[pool.%s]\n", name)
	for i := first; i < first+n; i++ {
		fmt.Fprintf(&t, "[[pool.%s.backend]]\nhost = \"127.1.%d.%d\"\nport = %d\n", name, i>>8, i&255, port)
	}
	return t.String()
}

// reloads measures how long a reload of many listeners takes that changes every pool, and what sessions notice of it.
func (b *bench) reloads(ctx context.Context, w io.Writer) error {
	port, err := b.echoEverywhere()
	if err != nil {
		return err
	}
	own := freePort()
	conf := func(shift int) []byte { // with another shift, every pool has another backend
		var t strings.Builder
		for i := range manyListeners {
			fmt.Fprintf(&t, "[[listener]]\nname = \"l%d\"\nlisten = \"tcp://127.2.%d.%d:%s\"\npool = \"p%d\"\n%s", i, i>>8, i&255, own, i,
				somePool(fmt.Sprint("p", i), port, peersOfEach*i+shift, peersOfEach))
		}
		return []byte(t.String())
	}
	texts := [2][]byte{conf(0), conf(1)}
	listen := "127.2.0.0:" + own
	r, err := b.run(ctx, listen, string(texts[0]))
	if err != nil {
		return err
	}
	defer r.stop()
	fmt.Fprintf(w, "\n%d listeners, %d backends; sessions, %d connections with a message each %v\n", manyListeners, manyListeners*peersOfEach, talkers, talkEvery)
	var took []time.Duration
	shift := 0
	reload := func() error {
		shift ^= 1
		if err := os.WriteFile(r.file, texts[shift], 0o600); err != nil {
			return err
		}
		begin := time.Now()
		if err := r.reload(); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
		return nil
	}
	target := fmt.Sprintf("127.1.0.0:%d", port)
	err = b.beside(ctx, w, listen, target, fmt.Sprintf("in %v one reload that changes every pool", b.length), func(context.Context) error { return reload() })
	if err != nil {
		return err
	}
	err = b.beside(ctx, w, listen, target, "a reload each second that changes every pool", func(ctx context.Context) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if err := reload(); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	slices.Sort(took)
	fmt.Fprintf(w, "  a reload, from the request to the answer (1 s): median %v, most %v of %d\n", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), len(took))
	return nil
}

// reload has ebb read its file again, and wants every pool to have changed.
func (r *running) reload() error {
	reply, err := http.Post("http://"+r.admin+"/v1/reload", "application/json", nil)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	var said struct{ Changes []string }
	if err := json.NewDecoder(reply.Body).Decode(&said); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK || len(said.Changes) < manyListeners {
		return fmt.Errorf("reload: %s, %d changes", reply.Status, len(said.Changes))
	}
	return nil
}
