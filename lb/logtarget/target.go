// Package logtarget is where log lines can go: a stream, a file that is opened again when it was moved away, syslog, or
// the journal of systemd.
//
//	t, err := logtarget.Open("/var/log/ebb/ebb.log", os.Stderr)
//	defer t.Close()
//	t.Write(line)
//	t.Reopen() // after the file was moved
//
// The model: a target takes one line with each Write, as slog's handlers give it, from one goroutine at a time; that may
// block, or fail where nobody takes the line. Whoever must not wait queues before it. Reopen and Close may come from any
// goroutine, also during a Write, and do not wait for it.
package logtarget

import (
	"bytes"
	"io"
)

// Target takes lines.
type Target interface {
	io.WriteCloser
	// Reopen goes on in a new file where a file was moved away. On an error the old one stays in use. It does nothing where
	// there is no file.
	Reopen() error
}

// Open opens a target: "stderr" for the stream, "syslog", "journald", or the path of a file.
func Open(name string, stderr io.Writer) (Target, error) {
	switch name {
	case "stderr":
		return stream{stderr}, nil
	case "syslog":
		return openSyslog("", "")
	case "journald":
		return openJournal(journalSocket)
	}
	return openFile(name)
}

// stream is a target that belongs to somebody else.
type stream struct{ io.Writer }

func (stream) Reopen() error { return nil }
func (stream) Close() error  { return nil }

// severity is that of a line, as syslog counts: 3 error, 4 warning, 6 info, 7 debug. Every line has its level second, after
// its time.
func severity(line []byte) int {
	_, rest, found := bytes.Cut(line, []byte(`"level":"`))
	if !bytes.HasPrefix(line, []byte("{")) {
		_, rest, found = bytes.Cut(line, []byte("level="))
	}
	switch {
	case !found:
	case bytes.HasPrefix(rest, []byte("ERROR")):
		return 3
	case bytes.HasPrefix(rest, []byte("WARN")):
		return 4
	case bytes.HasPrefix(rest, []byte("DEBUG")):
		return 7
	}
	return 6
}
