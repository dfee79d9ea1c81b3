// Package config turns a TOML file and command-line flags into one validated Config. It is a file format, not a program.
package config
