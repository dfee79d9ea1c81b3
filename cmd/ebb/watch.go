package main

import (
	"context"
	"os"
	"time"
)

// watchEvery is how often a watched file is looked at. Two looks that find the same, so far apart, also tell that the last
// write is older than a file system's idea of a moment.
const watchEvery = time.Second

// fileWatch waits for a file to be another. It looks at the path, whatever is there: a file that was written to, one that
// was renamed over it, or one that a symbolic link on the way leads to now. That works on every file system.
type fileWatch struct {
	path string
	seen os.FileInfo // nil if there was none
}

// newFileWatch begins with the file as it is now, which may be read after that.
func newFileWatch(path string) *fileWatch {
	w := &fileWatch{path: path}
	w.seen = w.look()
	return w
}

func (w *fileWatch) look() os.FileInfo {
	info, err := os.Stat(w.path)
	if err != nil {
		return nil // gone, or not to be reached: whoever reads it will say why
	}
	return info
}

// run calls changed, until ctx ends, each time that the file is not what it was and has been left alone since the look
// before: who writes it may take his time. A file that is gone has changed, too.
func (w *fileWatch) run(ctx context.Context, changed func()) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for last := w.seen; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := w.look()
		if sameFile(now, last) && !sameFile(now, w.seen) {
			w.seen = now
			changed()
		}
		last = now
	}
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
