//go:build !linux

package sock

// HearClass does nothing here: Probe has refused what asks for it.
func HearClass(int) {}

// SetClass does nothing here.
func SetClass(int, bool, uint8) {}

// Class is 0 here.
func Class([]byte) uint8 { return 0 }

// AppendClass adds nothing here.
func AppendClass(control []byte, _ bool, _ uint8) []byte { return control }
