package preface

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"strings"
	"testing"
)

// hello is what a client of TLS that asks for a name sends first.
func hello(t testing.TB, name string, protocols ...string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		_ = tls.Client(client, &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true}).Handshake()
	}()
	b := make([]byte, MaxHello)
	n, err := server.Read(b) // one write is one record
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// fragmented cuts the message of one record into records of at most size bytes.
func fragmented(record []byte, size int) (all []byte) {
	for message := record[recordHead:]; len(message) > 0; message = message[min(size, len(message)):] {
		part := message[:min(size, len(message))]
		all = append(all, handshake, 3, 1, byte(len(part)>>8), byte(len(part)))
		all = append(all, part...)
	}
	return all
}

func TestHelloNamesTheServer(t *testing.T) {
	plain := hello(t, "DB.Example.com")
	old := bytes.Clone(plain)
	old[2] = 0 // SSL 3.0, which is a record's version only
	for what, c := range map[string]struct {
		stream []byte
		want   string
	}{
		"a name":                     {plain, "db.example.com"},
		"and protocols":              {hello(t, "db.example.com", "h2", "http/1.1"), "db.example.com"},
		"and what follows":           {append(bytes.Clone(plain), "early data"...), "db.example.com"},
		"none":                       {hello(t, ""), ""},
		"an address, which is none":  {hello(t, "192.0.2.1"), ""},
		"one of 255 bytes":           {hello(t, strings.Repeat("a.", 127)+"b"), strings.Repeat("a.", 127) + "b"},
		"one that is too long":       {hello(t, strings.Repeat("a.", 128)+"b"), ""},
		"an old record":              {old, "db.example.com"},
		"in records of 100 bytes":    {fragmented(plain, 100), "db.example.com"},
		"in records of one byte":     {fragmented(plain, 1), ""},
		"two thousand bytes":         {hello(t, "db.example.com", strings.Split(strings.TrimSpace(strings.Repeat("a-long-protocol ", 120)), " ")...), "db.example.com"},
		"more than anybody looks at": {hello(t, "db.example.com", strings.Split(strings.TrimSpace(strings.Repeat("a-long-protocol ", 1000)), " ")...), ""},
	} {
		if name, need := Hello(c.stream); name != c.want || need != 0 {
			t.Errorf("%s: %q, %d, expected %q", what, name, need, c.want)
		}
	}
}

// Whatever is missing, more is wanted, never more than there will be; and no name is made of a part.
func TestHelloOfEveryPart(t *testing.T) {
	whole := hello(t, "db.example.com")
	for _, stream := range [][]byte{whole, fragmented(whole, 100)} {
		for n := range len(stream) {
			if name, need := Hello(stream[:n]); name != "" || need <= n || need > len(stream) {
				t.Fatalf("%d of %d bytes: %q, %d", n, len(stream), name, need)
			}
		}
	}
}

func TestHelloIsNoOtherProtocol(t *testing.T) {
	damaged := hello(t, "db.example.com")
	damaged[recordHead+messageHead+2+32] = 0xff // the length of the session's id
	unnamed := hello(t, "db.example.com")
	copy(unnamed[bytes.Index(unnamed, []byte("example")):], "exa\nple")
	for what, b := range map[string][]byte{
		"HTTP":                            []byte("G"),
		"an SSLRequest of PostgreSQL":     {0, 0, 0, 8, 4, 210, 22, 47},
		"SSL 2":                           {0x80, 46, 1, 3, 1},
		"an alert":                        {21, 3, 1, 0, 2, 1, 0},
		"another version":                 {handshake, 4},
		"an empty record":                 {handshake, 3, 1, 0, 0},
		"a record that is too long":       {handshake, 3, 1, 0x40, 1},
		"another message":                 {handshake, 3, 1, 0, 4, 2, 0, 0, 0},
		"a message that is damaged":       damaged,
		"a name that is none":             unnamed,
		"a message longer than is looked": append([]byte{handshake, 3, 1, 0x40, 0, clientHello, 0, 0xff, 0xff}, make([]byte, maxPlaintext-4)...),
	} {
		if name, need := Hello(b); name != "" || need != 0 {
			t.Errorf("%s: %q, %d", what, name, need)
		}
	}
}

func FuzzHello(f *testing.F) {
	whole := hello(f, "db.example.com")
	f.Add(whole)
	f.Add(fragmented(whole, 100))
	f.Add(whole[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		name, need := Hello(b)
		switch {
		case need != 0 && (name != "" || need <= len(b) || need > MaxHello):
			t.Errorf("%q, %d of %d bytes", name, need, len(b))
		case len(name) > maxName || name != strings.ToLower(name):
			t.Errorf("%q", name)
		case name != "":
			if again, need := Hello(append(bytes.Clone(b), 0)); again != name || need != 0 {
				t.Errorf("%q became %q, %d by what follows", name, again, need)
			}
			if size := int(binary.BigEndian.Uint16(b[3:])); recordHead+size > len(b) {
				t.Errorf("%q of a part", name)
			}
		}
	})
}

func BenchmarkHello(b *testing.B) {
	whole := hello(b, "db.example.com")
	b.ReportAllocs()
	for b.Loop() {
		if name, _ := Hello(whole); name == "" {
			b.Fatal("no name")
		}
	}
}
