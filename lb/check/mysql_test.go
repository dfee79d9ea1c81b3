package check

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// mysqlHello is the greeting of a server, with TLS or without.
func mysqlHello(tls bool) packet {
	capabilities := uint32(strangerCapabilities)
	if tls {
		capabilities |= clientSSL
	}
	b := append([]byte{10}, "5.5.5-10.11.6-MariaDB\x00\x01\x00\x00\x0012345678\x00"...)
	b = binary.LittleEndian.AppendUint16(b, uint16(capabilities))
	b = append(b, 33, 2, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(capabilities>>16))
	return packet{0, append(append(b, 21), "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00mysql_native_password\x00"...)}
}

func mysqlNo(number byte, code uint16, message string) packet {
	return packet{number, append(binary.LittleEndian.AppendUint16([]byte{0xff}, code), "#HY000"+message...)}
}

var mysqlOK = []byte{0, 0, 0, 2, 0, 0, 0}

// mysqlServer greets, and answers the packets of its client one after the other. It hands on what the client said.
func mysqlServer(hello packet, answers ...packet) (serve func(net.Conn), saw chan []packet) {
	saw = make(chan []packet, 10)
	return func(c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		var said []packet
		defer func() { saw <- said }()
		_, _ = c.Write(hello.bytes())
		for {
			p, err := readMySQL(c)
			if err != nil {
				return
			}
			said = append(said, p)
			if len(answers) > 0 {
				_, _ = c.Write(answers[0].bytes())
				answers = answers[1:]
			}
		}
	}, saw
}

// readMySQL is readPacket, but takes the empty packet that a client may send.
func readMySQL(c net.Conn) (packet, error) {
	head := make([]byte, 4)
	for i := range head {
		if _, err := c.Read(head[i : i+1]); err != nil {
			return packet{}, err
		}
	}
	if head[0] == 0 && head[1] == 0 {
		return packet{number: head[3]}, nil
	}
	return readPacket(&joined{head, c})
}

type joined struct {
	head []byte
	c    net.Conn
}

func (j *joined) Read(p []byte) (int, error) {
	if len(j.head) > 0 {
		n := copy(p, j.head)
		j.head = j.head[n:]
		return n, nil
	}
	return j.c.Read(p)
}

func TestMySQLProbeWithoutUser(t *testing.T) {
	for _, c := range []struct {
		name    string
		tls     string
		hello   packet
		answers []packet
		want    Result
		login   bool
	}{
		{"refused", "", mysqlHello(false), []packet{mysqlNo(2, 1045, "Access denied")}, Result{Alive: true, Reason: OK, Detail: "Access denied"}, true},
		{"let in", "", mysqlHello(false), []packet{{2, mysqlOK}}, Result{Alive: true, Reason: OK}, true},
		{"another plugin", "", mysqlHello(false), []packet{{2, []byte("\xfecaching_sha2_password\x00salt\x00")}, mysqlNo(4, 1045, "Access denied")}, Result{Alive: true, Reason: OK, Detail: "Access denied"}, true},
		{"full at the greeting", "", packet{0, append([]byte{0xff, 0x10, 0x04}, "Too many connections"...)}, nil, Result{Alive: true, Full: true, Reason: TooBusy, Detail: "Too many connections (1040)"}, true},
		{"this host is locked out", "", packet{0, append([]byte{0xff, 0x69, 0x04}, "Host is blocked"...)}, nil, Result{Reason: Denied, Detail: "1129"}, true},
		{"shutting down", "", mysqlHello(false), []packet{mysqlNo(2, 1053, "Server shutdown in progress")}, Result{Reason: Unready, Detail: "shutdown"}, true},
		{"no TLS", "require", mysqlHello(false), []packet{mysqlNo(2, 1045, "Access denied")}, Result{Reason: BadTLS, Detail: "offers no TLS"}, true},
		{"rubbish after the login", "", mysqlHello(false), []packet{{2, []byte("rubbish")}}, Result{Reason: Garbled, Detail: "rubbish"}, true},
		{"not MySQL", "", packet{0, []byte("\x09old")}, nil, Result{Reason: Garbled, Detail: "no greeting"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			serve, saw := mysqlServer(c.hello, c.answers...)
			r := probeOnce(t, Options{Kind: "mysql", TLS: TLS{Mode: c.tls}}, listen(t, serve))
			if !strings.Contains(r.Detail, c.want.Detail) {
				t.Errorf("detail %q, want %q in it", r.Detail, c.want.Detail)
			}
			r.Latency, r.Detail, c.want.Detail = 0, "", ""
			if r != c.want {
				t.Errorf("%+v, want %+v", r, c.want)
			}
			// Nobody leaves without an answer to the greeting: that is what servers count.
			said := <-saw
			if len(said) == 0 || said[0].number != 1 || !bytes.Contains(said[0].body, []byte(stranger)) {
				t.Errorf("the server got %+v", said)
			}
		})
	}
	wrongs(t, Options{Kind: "mysql"})
}

// A server that comes to greet only after the probe has gone finds a login, and not an end.
func TestMySQLProbeLeavesALoginBehind(t *testing.T) {
	for _, user := range []string{"", "ebb"} {
		late := make(chan struct{})
		saw := make(chan []packet, 1)
		target := listen(t, func(c net.Conn) {
			<-late
			serve, said := mysqlServer(mysqlHello(false))
			serve(c)
			saw <- <-said
		})
		r := probeOnce(t, Options{Kind: "mysql", User: user, Timeout: time.Second}, target)
		close(late)
		wantReason(t, r, Timeout)
		if said := <-saw; len(said) != 2 || !bytes.Contains(said[0].body, []byte(stranger)) || !bytes.Equal(said[1].body, []byte{1}) {
			t.Errorf("user %q: the server got %+v, want a login and an end", user, said)
		}
	}
}

// A probe that is called off, because ebb stops or the peer is gone, logs in all the same, and quits: also if the server goes on
// only when the probe has given up.
func TestMySQLProbeIsCalledOff(t *testing.T) {
	for _, c := range []struct {
		name  string
		user  string
		stage int // what of the client's the server has read by then
	}{
		{"a stranger before the greeting", "", 0},
		{"a stranger that has logged in", "", 1},
		{"a user before the greeting", "ebb", 0},
		{"a user that has logged in", "ebb", 1},
		{"a user that has asked", "ebb", 2},
	} {
		for _, meanwhile := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, meanwhile %v", c.name, meanwhile), func(t *testing.T) {
				reached, on, saw := make(chan struct{}), make(chan struct{}), make(chan []packet, 1)
				target := listen(t, func(conn net.Conn) {
					_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
					var said []packet
					defer func() { saw <- said }()
					for n := 0; ; n++ {
						if n == c.stage {
							close(reached)
							<-on
						}
						switch n {
						case 0:
							_, _ = conn.Write(mysqlHello(false).bytes())
						case 1:
							_, _ = conn.Write(packet{2, mysqlOK}.bytes())
						}
						p, err := readMySQL(conn)
						if err != nil {
							return
						}
						said = append(said, p)
					}
				})
				ask, err := newMySQL(Options{Kind: "mysql", User: c.user})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				done := make(chan struct{})
				go func() {
					defer close(done)
					ask(ctx, target)
				}()
				<-reached
				cancel()
				if !meanwhile {
					<-done
				}
				close(on)
				said := <-saw
				<-done
				if n := len(said); n < 2 || said[0].number != 1 || !bytes.Contains(said[0].body, []byte("ebb\x00")) || !bytes.Equal(said[n-1].body, []byte{1}) {
					t.Errorf("the server got %+v, want a login and an end", said)
				}
			})
		}
	}
}

func TestMySQLProbeWithUser(t *testing.T) {
	o := Options{Kind: "mysql", User: "ebb", PasswordFile: secretFile(t, "geheim\n", 0o600)}
	for _, c := range []struct {
		name    string
		hello   packet
		answers []packet
		want    string
		words   string
	}{
		{"wrong password", mysqlHello(false), []packet{mysqlNo(2, 1045, "Access denied")}, Denied, "Access denied (1045)"},
		{"not in step with its cluster", mysqlHello(false), []packet{{2, mysqlOK}, mysqlNo(1, 1047, "WSREP has not yet prepared node for application use")}, Unready, "WSREP"},
		{"a plugin nobody knows", mysqlHello(false), []packet{{2, []byte("\xfeno_such_plugin\x00salt\x00")}}, Denied, "plugin"},
		{"clear text", mysqlHello(false), []packet{{2, []byte("\xfemysql_clear_password\x00")}}, Denied, "clear"},
		{"rubbish", mysqlHello(false), []packet{{2, mysqlOK}, {1, bytes.Repeat([]byte("rubbish"), 20)}}, "", ""},
		{"closes after the login", mysqlHello(false), nil, Timeout, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			serve, _ := mysqlServer(c.hello, c.answers...)
			if o.Timeout = 10 * time.Second; c.want == "" || c.want == Timeout {
				o.Timeout = time.Second
			}
			r := probeOnce(t, o, listen(t, serve))
			if r.Alive || c.want != "" && r.Reason != c.want || !strings.Contains(r.Detail, c.words) || strings.Contains(r.Detail, "geheim") {
				t.Errorf("%+v, want %s, %q", r, c.want, c.words)
			}
		})
	}
	r := probeOnce(t, Options{Kind: "mysql", User: "ebb"}, listen(t, func(c net.Conn) {
		_, _ = c.Write(packet{0, append([]byte{0xff, 0x10, 0x04}, "Too many connections"...)}.bytes())
	}))
	wantFull := r.Alive && r.Full && r.Reason == TooBusy
	if !wantFull {
		t.Errorf("%+v, want full", r)
	}
	wrongs(t, o)
}

func FuzzMySQLGreeting(f *testing.F) {
	f.Add(mysqlHello(true).bytes())
	f.Add(mysqlNo(0, 1040, "Too many").bytes())
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Add([]byte{1, 0, 0, 0, 10})
	f.Add([]byte{2, 0, 0, 0, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readPacket(bytes.NewReader(b))
		if err != nil {
			return
		}
		if got := p.bytes(); !bytes.Equal(got, b[:len(got)]) {
			t.Errorf("%q read and written is %q", b, got)
		}
		if _, err := parseGreeting(p.body); err != nil {
			greetFailed(err)
		}
	})
}
