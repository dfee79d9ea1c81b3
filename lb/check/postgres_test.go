package check

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// postgresServer plays one: how it lets a client in, and what it says to queries.
type postgresServer struct {
	tls   *tls.Config
	auth  func(b *pgproto3.Backend, user string) bool
	query func(b *pgproto3.Backend, sql string)
	saw   chan string // how the conversation ended
}

func (p *postgresServer) serve(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	conn := c
	b := pgproto3.NewBackend(conn, conn)
	m, err := b.ReceiveStartupMessage()
	if _, ok := m.(*pgproto3.SSLRequest); ok {
		if p.tls == nil {
			_, _ = conn.Write([]byte{'N'})
			p.end(conn)
			return
		}
		_, _ = conn.Write([]byte{'S'})
		conn = tls.Server(c, p.tls)
		b = pgproto3.NewBackend(conn, conn)
		m, err = b.ReceiveStartupMessage()
	}
	start, ok := m.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		p.saw <- "no start"
		return
	}
	if p.auth != nil && !p.auth(b, start.Parameters["user"]) {
		p.end(conn)
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "15"})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = b.Flush()
	for {
		m, err := b.Receive()
		if err != nil {
			p.saw <- err.Error()
			return
		}
		switch m := m.(type) {
		case *pgproto3.Query:
			p.query(b, m.String)
			_ = b.Flush()
		case *pgproto3.Terminate:
			p.end(conn)
			return
		}
	}
}

// end waits for the client to leave, as servers do.
func (p *postgresServer) end(c net.Conn) {
	rest, err := io.ReadAll(c)
	switch {
	case err != nil:
		p.saw <- err.Error()
	case len(rest) > 0:
		p.saw <- quote(rest)
	default:
		p.saw <- "end"
	}
}

func refuse(code, text string) func(*pgproto3.Backend, string) bool {
	return func(b *pgproto3.Backend, _ string) bool {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: text})
		return b.Flush() != nil
	}
}

func rows(values ...string) func(*pgproto3.Backend, string) {
	return func(b *pgproto3.Backend, _ string) {
		var row pgproto3.DataRow
		for _, v := range values {
			if v == "NULL" {
				row.Values = append(row.Values, nil)
			} else {
				row.Values = append(row.Values, []byte(v))
			}
		}
		b.Send(&row)
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

// clearText lets in who has it, in clear text.
func clearText(b *pgproto3.Backend, _ string) bool {
	b.Send(&pgproto3.AuthenticationCleartextPassword{})
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil {
		return false
	}
	m, err := b.Receive()
	p, ok := m.(*pgproto3.PasswordMessage)
	return err == nil && ok && p.Password == "geheim" || refuse("28P01", "password authentication failed")(b, "")
}

func md5Password(b *pgproto3.Backend, user string) bool {
	b.Send(&pgproto3.AuthenticationMD5Password{Salt: [4]byte{1, 2, 3, 4}})
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeMD5Password) != nil {
		return false
	}
	m, err := b.Receive()
	p, ok := m.(*pgproto3.PasswordMessage)
	return err == nil && ok && p.Password == "md5"+md5Hex(md5Hex("geheim"+user)+"\x01\x02\x03\x04") || refuse("28P01", "password authentication failed")(b, "")
}

// scramServer is the server's side of RFC 5802, with a signature that a lie makes wrong.
func scramServer(password string, iterations int, lie bool) func(*pgproto3.Backend, string) bool {
	return func(b *pgproto3.Backend, _ string) bool {
		b.Send(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}})
		if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeSASL) != nil {
			return false
		}
		m, err := b.Receive()
		first, ok := m.(*pgproto3.SASLInitialResponse)
		if err != nil || !ok {
			return false
		}
		bare := strings.TrimPrefix(string(first.Data), "n,,")
		_, nonce, _ := strings.Cut(bare, "r=")
		challenge := "r=" + nonce + "server,s=" + base64.StdEncoding.EncodeToString([]byte("salt")) + ",i=" + strconv.Itoa(iterations)
		b.Send(&pgproto3.AuthenticationSASLContinue{Data: []byte(challenge)})
		if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeSASLContinue) != nil {
			return false
		}
		m, err = b.Receive()
		second, ok := m.(*pgproto3.SASLResponse)
		if err != nil || !ok {
			return false
		}
		unproven, proof, _ := strings.Cut(string(second.Data), ",p=")
		salted, _ := pbkdf2.Key(sha256.New, password, []byte("salt"), iterations, 32)
		key := mac(salted, "Client Key")
		stored := sha256.Sum256(key)
		all := bare + "," + challenge + "," + unproven
		want := mac(stored[:], all)
		for i := range want {
			want[i] ^= key[i]
		}
		if proof != base64.StdEncoding.EncodeToString(want) || unproven != "c=biws,r="+nonce+"server" {
			return refuse("28P01", "password authentication failed")(b, "")
		}
		signature := mac(mac(salted, "Server Key"), all)
		if lie {
			signature[0] ^= 1
		}
		b.Send(&pgproto3.AuthenticationSASLFinal{Data: []byte("v=" + base64.StdEncoding.EncodeToString(signature))})
		return true
	}
}

func TestPostgresProbe(t *testing.T) {
	file := secretFile(t, "geheim\n", 0o600)
	ca := newAuthority(t, "127.0.0.1")
	nobody, ebb := Options{Kind: "postgres"}, Options{Kind: "postgres", User: "ebb"}
	secret := Options{Kind: "postgres", User: "ebb", PasswordFile: file}
	secure := secret
	secure.TLS = TLS{Mode: "verify", CAFile: ca.caFile}
	wrong := secret
	wrong.PasswordFile = secretFile(t, "falsch", 0o600)
	open := secret
	open.PasswordFile = secretFile(t, "geheim", 0o644)
	primary := Result{Alive: true, Reason: OK, Role: Primary, Timeline: 10, LagKnown: true}
	isPrimary := rows("f", "0000000A", "NULL")
	for _, c := range []struct {
		name    string
		options Options
		server  postgresServer
		want    Result // Detail: words of it
	}{
		{"nobody, who is let in", nobody, postgresServer{}, Result{Alive: true, Reason: OK}},
		{"nobody, asked for a password", nobody, postgresServer{auth: clearText}, Result{Alive: true, Reason: OK}},
		{"nobody, asked for SCRAM", nobody, postgresServer{auth: scramServer("geheim", 4096, false)}, Result{Alive: true, Reason: OK}},
		{"nobody, refused", nobody, postgresServer{auth: refuse("28000", "no pg_hba.conf entry")}, Result{Alive: true, Reason: OK, Detail: "no pg_hba"}},
		{"nobody, no database", nobody, postgresServer{auth: refuse("3D000", "no database")}, Result{Alive: true, Reason: OK, Detail: "3D000"}},
		{"nobody, full", nobody, postgresServer{auth: refuse("53300", "too many clients already")}, Result{Alive: true, Full: true, Reason: TooBusy, Detail: "too many clients already (53300)"}},
		{"nobody, starting", nobody, postgresServer{auth: refuse("57P03", "the database system is starting up")}, Result{Reason: Unready, Detail: "starting up (57P03)"}},
		{"nobody, another error", nobody, postgresServer{auth: refuse("XX000", "panic\nat the disk")}, Result{Reason: Error, Detail: "panic at the disk"}},
		{"primary", ebb, postgresServer{query: isPrimary}, primary},
		{"primary that shows no timeline", ebb, postgresServer{query: rows("f", "NULL", "NULL")}, Result{Alive: true, Reason: OK, Role: Primary, LagKnown: true}},
		{"replica in step", ebb, postgresServer{query: rows("t", "NULL", "0")}, Result{Alive: true, Reason: OK, Role: Replica, LagKnown: true}},
		{"replica behind", ebb, postgresServer{query: rows("t", "NULL", "12.5")}, Result{Alive: true, Reason: OK, Role: Replica, Lag: 12500 * time.Millisecond, LagKnown: true}},
		{"replica ahead of our clock", ebb, postgresServer{query: rows("t", "NULL", "-0.5")}, Result{Alive: true, Reason: OK, Role: Replica, LagKnown: true}},
		{"replica that has replayed nothing", ebb, postgresServer{query: rows("t", "NULL", "NULL")}, Result{Alive: true, Reason: OK, Role: Replica}},
		{"a row that is none", ebb, postgresServer{query: rows("maybe", "NULL", "NULL")}, Result{Reason: Garbled, Detail: "maybe"}},
		{"no row", ebb, postgresServer{query: func(b *pgproto3.Backend, _ string) { b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'}) }}, Result{Reason: Garbled, Detail: "the query gave"}},
		{"a relative that has no WAL", ebb, postgresServer{query: func(b *pgproto3.Backend, sql string) {
			if strings.Contains(sql, "wal") {
				b.Send(&pgproto3.ErrorResponse{Code: "42883", Message: "no such function"})
				b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
				return
			}
			rows("f", "NULL", "NULL")(b, sql)
		}}, Result{Alive: true, Reason: OK, Role: Primary, LagKnown: true}},
		{"no privilege", ebb, postgresServer{query: func(b *pgproto3.Backend, _ string) {
			b.Send(&pgproto3.ErrorResponse{Code: "42501", Message: "permission denied"})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		}}, Result{Reason: Denied, Detail: "permission denied (42501)"}},
		{"shut down under the query", ebb, postgresServer{query: func(b *pgproto3.Backend, _ string) {
			b.Send(&pgproto3.ErrorResponse{Code: "57P01", Message: "terminating connection"})
		}}, Result{Reason: Unready, Detail: "57P01"}},
		{"a password is wanted, none is there", ebb, postgresServer{auth: md5Password}, Result{Reason: Denied, Detail: "password_file"}},
		{"the role is missing", ebb, postgresServer{auth: refuse("28000", `role "ebb" does not exist`)}, Result{Reason: Denied, Detail: "does not exist"}},
		{"full for a user", ebb, postgresServer{auth: refuse("53300", "too many")}, Result{Alive: true, Full: true, Reason: TooBusy, Detail: "too many"}},
		{"md5", secret, postgresServer{auth: md5Password, query: isPrimary}, primary},
		{"md5, wrong", wrong, postgresServer{auth: md5Password}, Result{Reason: Denied, Detail: "28P01"}},
		{"scram", secret, postgresServer{auth: scramServer("geheim", 4096, false), query: isPrimary}, primary},
		{"scram, wrong", wrong, postgresServer{auth: scramServer("geheim", 4096, false)}, Result{Reason: Denied, Detail: "28P01"}},
		{"scram, by an impostor", secret, postgresServer{auth: scramServer("geheim", 4096, true), query: isPrimary}, Result{Reason: Denied, Detail: "prove"}},
		{"scram, that never ends", secret, postgresServer{auth: scramServer("geheim", 2_000_000_000, false)}, Result{Reason: Garbled, Detail: "challenge"}},
		{"clear text without TLS", secret, postgresServer{auth: clearText}, Result{Reason: Denied, Detail: "needs tls"}},
		{"clear text with TLS", secure, postgresServer{tls: ca.server, auth: clearText, query: isPrimary}, primary},
		{"scram with TLS", secure, postgresServer{tls: ca.server, auth: scramServer("geheim", 4096, false), query: isPrimary}, primary},
		{"TLS that is not there", secure, postgresServer{}, Result{Reason: BadTLS, Detail: "offers no TLS"}},
		{"TLS of another", secure, postgresServer{tls: newAuthority(t, "127.0.0.1").server}, Result{Reason: BadTLS, Detail: "certificate"}},
		{"a password that others may read", open, postgresServer{}, Result{Reason: Local, Detail: "its mode is 644"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.saw = make(chan string, 10)
			target := listen(t, c.server.serve)
			r := probeOnce(t, c.options, target)
			if !strings.Contains(r.Detail, c.want.Detail) || strings.Contains(r.Detail, "geheim") || strings.Contains(r.Detail, "falsch") || strings.ContainsRune(r.Detail, '\n') {
				t.Errorf("detail %q, want %q in it and no secret", r.Detail, c.want.Detail)
			}
			detail := r.Detail
			r.Latency, r.Detail, c.want.Detail = 0, "", ""
			if r != c.want {
				t.Errorf("%+v (%s), want %+v", r, detail, c.want)
			}
			if c.want.Reason == Local {
				return
			}
			if saw := <-c.server.saw; saw != "end" && c.want.Reason != BadTLS && (saw != io.ErrUnexpectedEOF.Error() || c.want.Alive) {
				t.Errorf("the server saw %s, want a plain end", saw)
			}
		})
	}
	wrongs(t, nobody)
	wrongs(t, secure)
}

// The key of a password and a salt is derived once.
func TestScramKeyIsKept(t *testing.T) {
	var k scramKey
	first, err := k.of("geheim", "salt", 4096)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := k.of("geheim", "salt", 4096)
	if &first[0] != &again[0] {
		t.Error("derived again")
	}
	for _, other := range [][]byte{must(k.of("andere", "salt", 4096)), must(k.of("geheim", "pepper", 4096)), must(k.of("geheim", "salt", 4097))} {
		if string(other) == string(first) {
			t.Error("the same key for other words")
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestScramRefusesNonsense(t *testing.T) {
	if _, err := newScram([]string{"SCRAM-SHA-1"}, "x", new(scramKey)); reason(err) != Denied {
		t.Error(err)
	}
	for _, message := range []string{"", "r=", "r=NONCE,s=AA==,i=1", "r=NONCEx,s=?,i=1", "r=NONCEx,s=AA==,i=0", "r=NONCEx,s=AA==,i=x", "r=other,s=AA==,i=1", "r=NONCEx,s=AA==", "m=x,r=NONCEx,s=AA==,i=1"} {
		s, err := newScram([]string{scramMechanism}, "x", new(scramKey))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.final([]byte(strings.ReplaceAll(message, "NONCE", s.nonce))); reason(err) != Garbled {
			t.Errorf("%s: %v", message, err)
		}
		if err := s.verify([]byte("v=")); reason(err) != Denied {
			t.Errorf("%s: a proof is believed: %v", message, err)
		}
	}
	var none *scram
	if _, err := none.final([]byte("r=x,s=AA==,i=1")); err == nil {
		t.Error("an answer before the question")
	}
	if err := none.verify(nil); err == nil {
		t.Error("a proof of nothing")
	}
}
