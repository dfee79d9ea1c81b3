// Command ebb balances TCP and UDP between backends that are known by name.
//
// Each verb is one file. A verb is a cobra command whose RunE does the work and returns an error; root.go alone turns
// errors into lines on stderr and an exit code.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
