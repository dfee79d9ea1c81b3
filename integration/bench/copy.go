package main

import (
	"context"
	"io"
	"net"
	"os"
)

// copying starts the proxy that anyone would write first, in a process of its own so that its CPU can be told.
func copying(ctx context.Context, _, listen, target string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, nil, self, "-copy", listen+","+target)
}

// copyAll is that proxy: two goroutines for each connection, and io.Copy, which splices where it can.
func copyAll(listen, target string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			s, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer s.Close()
			go func() {
				_, _ = io.Copy(s, c)
				_ = s.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(c, s)
		}()
	}
}
