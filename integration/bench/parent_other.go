//go:build !linux

package main

import "syscall"

// withParent has no counterpart of Linux's Pdeathsig: a program that was started outlives a crash of this one.
func withParent() *syscall.SysProcAttr { return nil }

// asPostgres leaves a server to the user of this process.
func asPostgres() (*syscall.SysProcAttr, error) { return nil, nil }
