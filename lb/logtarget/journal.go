package logtarget

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
)

// journalSocket is where systemd's journal takes entries in its native protocol:
// https://systemd.io/JOURNAL_NATIVE_PROTOCOL
const journalSocket = "/run/systemd/journal/socket"

// maxEntry is below what a datagram may have by default (net.core.wmem_max, 208 KiB); longer text is cut.
const maxEntry = 160 << 10

// journal makes an entry of each line, which must be one of slog's JSON handler: MESSAGE is what people read, and each
// attribute is a field, EBB_POOL for pool.
type journal struct {
	path string
	mu   sync.Mutex // guards conn
	conn *net.UnixConn
}

func openJournal(path string) (*journal, error) {
	j := &journal{path: path}
	_, err := j.connect()
	return j, err
}

func (j *journal) connect() (*net.UnixConn, error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.conn != nil {
		_ = j.conn.Close()
	}
	j.conn = conn
	return conn, nil
}

// Write connects again, once, where the journal was started again.
func (j *journal) Write(line []byte) (int, error) {
	e, err := entry(line)
	if err != nil {
		return 0, err
	}
	j.mu.Lock()
	conn := j.conn
	j.mu.Unlock()
	if _, err := conn.Write(e); err == nil {
		return len(line), nil
	}
	if conn, err = j.connect(); err != nil {
		return 0, err
	}
	_, err = conn.Write(e)
	return len(line), err
}

func (j *journal) Reopen() error { return nil }

func (j *journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.conn.Close()
}

// entry is a line in the native protocol.
func entry(line []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("log line %.60q: not an object", line)
	}
	var fields, message bytes.Buffer
	for d.More() {
		key, err := d.Token()
		var value any
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			return nil, fmt.Errorf("log line %.60q: %w", line, err)
		}
		text := fmt.Sprint(value)
		if list, ok := value.([]any); ok {
			text = strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(list), "["), "]")
		}
		switch name := fmt.Sprint(key); name {
		case "time", "level": // the journal has its own time, and PRIORITY
		case "msg":
			message.WriteString(text)
		default:
			message.WriteString(" " + name + "=" + quoted(text))
			field(&fields, "EBB_"+fieldName(name), text)
		}
	}
	var e bytes.Buffer
	field(&e, "MESSAGE", message.String())
	fmt.Fprintf(&e, "PRIORITY=%d\nSYSLOG_IDENTIFIER=ebb\n", severity(line))
	if e.Len()+fields.Len() <= maxEntry {
		e.Write(fields.Bytes())
	}
	return e.Bytes(), nil
}

// field adds a value of any bytes: its length goes before it.
func field(to *bytes.Buffer, name, value string) {
	value = value[:min(len(value), maxEntry/2)]
	to.WriteString(name + "\n")
	_ = binary.Write(to, binary.LittleEndian, uint64(len(value))) // to memory
	to.WriteString(value + "\n")
}

// fieldName has the letters, digits and underscores that a field may have.
func fieldName(key string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key[:min(len(key), 60)])
}

// quoted is a value as slog's text handler shows it.
func quoted(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
