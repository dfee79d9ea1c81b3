package config

import (
	"path/filepath"
	"slices"
	"strings"
)

func readLog(c *Config, v value) {
	readTable(v, logKeys, &c.Log)
	if format := v.written("format"); c.Log.Target == "journald" && c.Log.Format != "auto" && v.sound("target", "format") {
		format.fail("found %s with target = \"journald\", which has fields and no format, expected \"auto\"", format.found())
	}
}

// logTarget reads where the log goes.
func (v value) logTarget(dst *string) {
	words := []string{"stderr", "syslog", "journald"}
	expected := "the absolute path of a file, " + choice(words)
	s, ok := v.text(expected)
	switch {
	case !ok:
	case !slices.Contains(words, s) && (!filepath.IsAbs(s) || strings.HasSuffix(s, "/") || strings.ContainsRune(s, 0)):
		v.unexpected("%s", expected)
	default:
		*dst = s
	}
}
