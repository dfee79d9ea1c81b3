package main

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// withParent makes a program end when this one does, however that ends.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// asPostgres is withParent for a server that root may not run: it becomes the user postgres.
func asPostgres() (*syscall.SysProcAttr, error) {
	attr := withParent()
	if os.Geteuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	var ids [2]uint32
	for i, id := range []string{u.Uid, u.Gid} {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user postgres: id %q: %w", id, err)
		}
		ids[i] = uint32(n)
	}
	attr.Credential = &syscall.Credential{Uid: ids[0], Gid: ids[1]}
	return attr, nil
}
