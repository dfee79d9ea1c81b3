package farewell

import (
	"bufio"
	"errors"
	"io"
	"strconv"
)

// maxCommands bounds what a client is answered: some drivers go on after an error, up to what they were asked for.
const maxCommands = 32

var errNotRedis = errors.New("not the protocol of Redis")

// redis answers each command with an error, until the client has gone or has had enough.
func redis(r *bufio.Reader, w io.Writer, why Reason) error {
	answer := "-LOADING " + why.String() + "\r\n" // drivers try again
	if why.Busy {
		answer = "-ERR max number of clients reached\r\n" // drivers know these words, to the letter
	}
	for range maxCommands {
		switch err := command(r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if _, err := io.WriteString(w, answer); err != nil {
			return err
		}
	}
	return nil
}

// command reads one command: an array of bulk strings, or a line.
func command(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if line[0] != '*' {
		if line[0] < ' ' && line[0] != '\r' && line[0] != '\n' { // TLS begins so
			return errNotRedis
		}
		return nil
	}
	n, err := length(line)
	for ; n > 0 && err == nil; n-- {
		if line, err = r.ReadSlice('\n'); err != nil {
			return err
		}
		if line[0] != '$' {
			return errNotRedis
		}
		var size int
		if size, err = length(line); err == nil {
			_, err = r.Discard(size + 2)
		}
	}
	return err
}

// length reads the number of a line such as "*3".
func length(line []byte) (int, error) {
	if len(line) < 4 || line[len(line)-2] != '\r' {
		return 0, errNotRedis
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil || n < 0 || n > mostBytes {
		return 0, errNotRedis
	}
	return n, nil
}
