package logtarget

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
)

// file appends to the file at a path.
type file struct {
	path string
	open atomic.Pointer[opened]
}

type opened struct {
	*os.File
	torn bool // the last line is not whole: the disk was full. Write's
}

func openFile(path string) (*file, error) {
	f, err := openAt(path)
	if err != nil {
		return nil, err
	}
	t := &file{path: path}
	t.open.Store(f)
	return t, nil
}

// openAt does not wait. A pipe without a reader would make it fail, unless it is opened for reading, too.
func openAt(path string) (*opened, error) {
	flags := os.O_WRONLY
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		flags = os.O_RDWR
	}
	f, err := os.OpenFile(path, flags|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	return &opened{File: f}, err
}

// Write begins a new line where a full disk has left half of one.
func (t *file) Write(line []byte) (int, error) {
	for {
		f := t.open.Load()
		text := line
		if f.torn {
			text = append([]byte("\n"), line...)
		}
		n, err := f.Write(text)
		if n == 0 && errors.Is(err, os.ErrClosed) && t.open.Load() != f { // by Reopen
			continue
		}
		if n > 0 {
			f.torn = n < len(text)
		}
		return min(n, len(line)), err
	}
}

func (t *file) Reopen() error {
	f, err := openAt(t.path)
	if err != nil {
		return err
	}
	return t.open.Swap(f).Close()
}

func (t *file) Close() error { return t.open.Load().Close() }
