//go:build linux

package main

import (
	"errors"
	"os"
)

// newPair starts a primary with a replica.
func newPair(dir string) (*pair, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	p := new(pair)
	var err error
	if p.a, err = newPostgres(hostA, dir); err != nil {
		return nil, err
	}
	if p.b, err = newPostgres(hostB, dir); err != nil {
		return nil, err
	}
	err = p.a.create(nil)
	if err == nil {
		_, err = p.a.ask("CREATE TABLE written (at text)")
	}
	if err == nil {
		err = p.b.create(p.a)
	}
	if err = errors.Join(err, p.a.serveREST(), p.b.serveREST()); err != nil {
		p.close()
		return nil, err
	}
	p.a.leads.Store(true)
	return p, nil
}

func (p *pair) close() {
	_ = undrop()
	p.a.close()
	p.b.close()
}

func remove(dir string) { _ = os.RemoveAll(dir) }
