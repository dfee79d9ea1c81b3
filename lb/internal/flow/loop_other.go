//go:build !linux || !(amd64 || arm64)

package flow

import "errors"

// CanBatch tells whether there are batches on this system.
const CanBatch = false

type looped struct{}

func newLoop(*Table) (carrier, error) { return nil, errors.ErrUnsupported }
