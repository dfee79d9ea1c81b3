//go:build !linux || !(amd64 || arm64)

package flow

import "errors"

// Engines are the names of the carriers of this system, the reference first.
var Engines = []string{"portable"}

type looped struct{}

func newLoop(*Table, string) (carrier, error) { return nil, errors.ErrUnsupported }
