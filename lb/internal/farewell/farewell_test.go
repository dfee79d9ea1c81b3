package farewell

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// pair is a client and the connection that ebb has of it.
func pair(t *testing.T) (client, served *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

const (
	ssl     = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	gss     = "\x00\x00\x00\x08\x04\xd2\x16\x30"
	cancel  = "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02"
	startup = "\x00\x00\x00\x11\x00\x03\x00\x00user\x00me\x00\x00"
)

func TestSay(t *testing.T) {
	busy := Reason{Busy: true, Word: "limit"}
	none := Reason{Word: "no_peer"}
	full := string(postgresError(busy))
	for _, test := range []struct {
		name    string
		dialect Dialect
		why     Reason
		sends   string
		gets    string
		reset   bool
	}{
		{"fin", FIN, none, "whatever", "", false},
		{"start-up", Postgres, busy, startup, full, false},
		{"TLS first", Postgres, busy, ssl + startup, "N" + full, false},
		{"GSSAPI, TLS, start-up", Postgres, busy, gss + ssl + startup, "NN" + full, false},
		{"asks for ever", Postgres, busy, ssl + ssl + ssl + ssl, "NNN", true},
		{"cancel", Postgres, busy, cancel, "", false},
		{"TLS at once", Postgres, busy, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "", true},
		{"a length of nothing", Postgres, busy, "\x00\x00\x00\x04\x00\x03\x00\x00", "", true},
		{"version 2", Postgres, busy, "\x00\x00\x00\x08\x00\x02\x00\x00", "", true},
		{"mysql", MySQL, busy, "", string(mysqlError(busy)), false},
		{"an answer for each command", Redis, busy, "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n", strings.Repeat("-ERR max number of clients reached\r\n", 3), false},
		{"no server", Redis, none, "PING\r\n", "-LOADING no server can be reached (ebb: no_peer)\r\n", false},
		{"TLS", Redis, none, "\x16\x03\x01\x02\x00\n", "", true},
		{"no command", Redis, none, "*1\r\nPING\r\n", "", true},
		{"more than an array", Redis, none, "*99999999999\r\n", "", true},
		{"a line without end", Redis, none, strings.Repeat("x", 600), "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, served := pair(t)
			var teller Teller
			if !teller.Reserve() {
				t.Fatal("no place")
			}
			teller.Say(served, test.dialect, test.why)
			if _, err := io.WriteString(client, test.sends); err != nil {
				t.Fatal(err)
			}
			if !test.reset {
				_ = client.CloseWrite()
			}
			got, err := io.ReadAll(client)
			if string(got) != test.gets && !test.reset || (err != nil) != test.reset {
				t.Errorf("got %q %v", got, err)
			}
			if test.reset && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("no reset: %v", err)
			}
			teller.all.Wait()
			if teller.places != 0 || len(teller.open) != 0 {
				t.Errorf("%d places, %d connections", teller.places, len(teller.open))
			}
			teller.Close()
		})
	}
}

// What is said arrives although the client has sent more than was read.
func TestNothingUnreadOvertakesTheWords(t *testing.T) {
	client, served := pair(t)
	if _, err := client.Write(bytes.Repeat([]byte("x"), 10_000)); err != nil {
		t.Fatal(err)
	}
	var teller Teller
	teller.Reserve()
	teller.Say(served, MySQL, Reason{Busy: true, Word: "limit"})
	if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, mysqlError(Reason{Busy: true, Word: "limit"})) {
		t.Errorf("%q %v", got, err)
	}
	client.Close()
	teller.all.Wait()
	teller.Close()
}

func TestTellerIsBounded(t *testing.T) {
	var teller Teller
	for range mostClients {
		if !teller.Reserve() {
			t.Fatal("no place")
		}
	}
	if teller.Reserve() {
		t.Error("a place too many")
	}
	teller.Cancel()
	if !teller.Reserve() {
		t.Error("no place")
	}
	client, served := pair(t) // which says nothing
	teller.Say(served, Postgres, Reason{Word: "no_peer"})
	teller.Close()
	if _, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	if teller.Reserve() {
		t.Error("a place after the end")
	}
	client, served = pair(t)
	teller.Say(served, Postgres, Reason{Word: "no_peer"})
	if got, err := io.ReadAll(client); len(got) != 0 || err != nil {
		t.Errorf("%q %v", got, err)
	}
}
