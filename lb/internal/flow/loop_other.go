//go:build !linux || !(amd64 || arm64)

package flow

import "errors"

// Engines are the names of the carriers of this system, the reference first.
var Engines = []string{"portable"}

type looped struct{}

// GiveWay is told that somebody lacks a descriptor. Here none is kept that nobody uses.
func GiveWay() {}

func newLoop(*Table, string) (carrier, error) { return nil, errors.ErrUnsupported }
