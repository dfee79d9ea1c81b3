// Package config turns a TOML file and command-line flags into one validated Config. It is a file format, not a program.
//
//	var flags config.Flags
//	err := flags.Set("log-level", "debug")
//	conf, err := config.Load("ebb.toml", &flags) // or "" for a run by flags alone
//
// The model: the file and the flags become one tree of values, each of which knows the place it came from. One table of
// keys says what may stand where and which Go field it fills. Fields that nothing fills keep what [defaults] gave them.
// Rules about several keys are checked last.
//
// Invariants:
//
//	F1  Load gives a Config that satisfies every rule, or Problems: all of them, each with the place of its cause.
//	F2  Nothing is ignored: a key that is not in the table is refused, and one without a function in this version too.
//	F3  A run by flags and the file that says the same give equal Configs.
//
// It looks nothing up, opens no socket and reads no file but the one it is given.
package config
