package lb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/pool"
)

// What operators have said outlives the process in a file, if the config names one: it is read at the start and written
// whenever something else is said. The file is whole at any moment, the old one or the new one, and never a reason not to
// serve: one that cannot be used is named in the log and set aside.

// maxState bounds the file, in bytes: some hundred thousand addresses.
const maxState = 16 << 20

// stateVersion is that of the document.
const stateVersion = 1

type stateDocument struct {
	Version int                  `json:"version"`
	Pools   map[string]poolState `json:"pools"`
}

// poolState is what has been said of a pool and its peers.
type poolState struct {
	Held  bool             `json:"held"`
	Peers []admin.Override `json:"peers"`
}

// overrides makes of it what a table takes.
func (p poolState) overrides() ([]pool.Override, error) {
	var list []pool.Override
	for _, o := range p.Peers {
		addr, err := netip.ParseAddrPort(o.Addr)
		if err != nil {
			return nil, err
		}
		word, known := adminWords[o.Admin]
		if !known {
			return nil, fmt.Errorf("peer %s: found %q, expected ready, drain or maint", o.Addr, o.Admin)
		}
		said := pool.Override{Addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), Admin: word, Weight: pool.NoWeight}
		if o.Weight != nil {
			if said.Weight = *o.Weight; said.Weight < 0 || said.Weight > admin.MaxWeight {
				return nil, fmt.Errorf("peer %s: found the weight %d, expected 0 to %d", o.Addr, said.Weight, admin.MaxWeight)
			}
		}
		list = append(list, said)
	}
	return list, nil
}

// loadState gives what the file holds; nothing if there is none yet, or if it cannot be used.
func (s *Server) loadState(path string) map[string]poolState {
	if path == "" {
		return nil
	}
	kept, err := readState(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return kept
	}
	aside := path + ".bad"
	if moved := os.Rename(path, aside); moved != nil {
		aside = moved.Error()
	}
	s.log.Error("state file ignored", "file", path, "error", err, "aside", aside)
	return nil
}

func readState(path string) (map[string]poolState, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxState {
		return nil, fmt.Errorf("it has more than %d bytes", maxState)
	}
	var doc stateDocument
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if doc.Version != stateVersion {
		return nil, fmt.Errorf("it has version %d, expected %d", doc.Version, stateVersion)
	}
	for name, p := range doc.Pools {
		if _, err := p.overrides(); err != nil {
			return nil, fmt.Errorf("pool %s: %w", name, err)
		}
	}
	return doc.Pools, nil
}

// saveState writes what has been said until now. What is said meanwhile is written by who says it.
func (s *Server) saveState() {
	s.saving.Lock()
	defer s.saving.Unlock()
	g := s.running()
	if g.conf.StateFile == "" {
		return
	}
	doc := stateDocument{Version: stateVersion, Pools: make(map[string]poolState)}
	for _, p := range g.pools {
		said := p.said()
		said.Held = said.Held && !s.holds.isSwitching(p.name) // which ends with the process
		if said.Held || len(said.Peers) > 0 {
			doc.Pools[p.name] = said
		}
	}
	if err := writeState(g.conf.StateFile, doc); err != nil {
		s.log.Error("state not saved", "file", g.conf.StateFile, "error", err)
	}
}

// said is what has been said of the pool and its peers.
func (p *livePool) said() poolState {
	said := poolState{Held: p.queue.held.Load(), Peers: []admin.Override{}}
	for _, o := range p.table.Overrides() {
		one := admin.Override{Addr: o.Addr.String(), Admin: o.Admin.String()}
		if o.Weight != pool.NoWeight {
			one.Weight = &o.Weight
		}
		said.Peers = append(said.Peers, one)
	}
	return said
}

// syncDir makes a rename in the folder outlive a loss of power.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeState puts another file in the place of the old one, when all of it is on the disk.
func writeState(path string, doc stateDocument) error {
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // its mode is 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}
