package check

import (
	"context"
	"crypto/md5" //nolint:gosec // the protocol's own
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// postgres is the "postgres" kind. Without a user it says what every client says first, and takes the demand for a
// password for life; the server logs nothing of who leaves then (src/backend/libpq/auth.c, STATUS_EOF). With a user it logs
// in, asks one query, and says goodbye.
//
// The messages are pgproto3's. pgconn would answer a demand for a password with none, which the server logs, and would
// derive the SCRAM key anew each time, which takes longer than all the rest.
type postgres struct {
	way    *way
	from   Options
	scram  scramKey
	simple atomic.Bool // this server does not know what postgresQuery asks
}

func newPostgres(o Options) (probeFunc, error) {
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	p := &postgres{way: w, from: o}
	return p.ask, nil
}

// What any role may ask. The timeline of a primary is in the name of its WAL file; of what a replica has received and not
// replayed the last commit's time tells, and where it has replayed all and its receiver runs, it is not behind.
const (
	postgresQuery = `SELECT pg_catalog.pg_is_in_recovery(),
CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN
  pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END,
CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN NULL
  WHEN pg_catalog.pg_last_wal_receive_lsn() <= pg_catalog.pg_last_wal_replay_lsn()
    AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN 0
  ELSE EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()) END`
	postgresSimpleQuery = `SELECT pg_catalog.pg_is_in_recovery(), NULL, NULL`
)

const mostMessage = 64 << 10 // bytes, of any message that the probe waits for

func (p *postgres) ask(ctx context.Context, target netip.AddrPort) Result {
	password, err := readSecret(p.from.PasswordFile)
	if err != nil {
		return failed(err)
	}
	c, err := p.open(ctx, target)
	if err != nil {
		return failed(err)
	}
	s := &postgresSession{Frontend: pgproto3.NewFrontend(c, c), postgres: p, password: password, encrypted: p.way.certs != nil}
	s.SetMaxBodyLen(mostMessage)
	start := time.Now()
	r := s.ask()
	r.Latency = time.Since(start)
	if s.ready && r.Reason != Timeout { // before, a server expects something else, and takes note of what it gets
		s.Send(&pgproto3.Terminate{})
		_ = s.Flush()
	}
	leave(c)
	return r
}

// open connects, and asks for TLS in the way of the protocol if that is wanted.
func (p *postgres) open(ctx context.Context, target netip.AddrPort) (link, error) {
	c, err := p.way.dial(ctx, target)
	if err != nil || p.way.certs == nil {
		return c, err
	}
	answer := make([]byte, 1)
	request, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err == nil {
		if _, err = c.Write(request); err == nil {
			_, err = io.ReadFull(c, answer)
		}
	}
	switch {
	case err != nil:
	case answer[0] == 'N':
		err = &failure{BadTLS, errors.New("the server offers no TLS")}
	case answer[0] != 'S':
		err = &failure{Garbled, fmt.Errorf("answered the request for TLS with %s", quote(answer))}
	}
	if err != nil {
		leave(c)
		return nil, err
	}
	return p.way.secure(ctx, c, target)
}

// postgresSession is one conversation.
type postgresSession struct {
	*pgproto3.Frontend
	*postgres
	password  string
	encrypted bool
	proof     *scram
	ready     bool // it was, for queries
}

func (s *postgresSession) ask() Result {
	s.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{
		"user": or(s.from.User, "postgres"), "database": or(s.from.Database, "postgres"), "application_name": "ebb",
	}})
	if err := s.Flush(); err != nil {
		return failed(err)
	}
	for {
		m, err := s.Receive()
		if err != nil {
			return s.failed(err)
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			return s.refused(m)
		case *pgproto3.ReadyForQuery:
			s.ready = true
			if s.from.User == "" {
				return Result{Alive: true, Reason: OK}
			}
			return s.query()
		case *pgproto3.AuthenticationOk:
			if s.proof != nil && !s.proof.verified {
				return Result{Reason: Denied, Detail: "the server let ebb in without proving that it knows the password"}
			}
		case *pgproto3.ParameterStatus, *pgproto3.BackendKeyData, *pgproto3.NoticeResponse, *pgproto3.NegotiateProtocolVersion:
		case *pgproto3.AuthenticationCleartextPassword, *pgproto3.AuthenticationMD5Password, *pgproto3.AuthenticationSASL,
			*pgproto3.AuthenticationSASLContinue, *pgproto3.AuthenticationSASLFinal, *pgproto3.AuthenticationGSS, *pgproto3.AuthenticationGSSContinue:
			if s.from.User == "" {
				return Result{Alive: true, Reason: OK}
			}
			answer, err := s.authenticate(m)
			if err != nil {
				return failed(err)
			}
			if answer != nil {
				s.Send(answer)
				if err := s.Flush(); err != nil {
					return failed(err)
				}
			}
		default:
			what := strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
			return Result{Reason: Garbled, Detail: "the answer is a message out of place, " + what}
		}
	}
}

// authenticate answers one demand; nil needs no answer.
func (s *postgresSession) authenticate(m pgproto3.BackendMessage) (pgproto3.FrontendMessage, error) {
	if s.password == "" {
		return nil, &failure{Denied, errors.New("the server asks for a password, and there is no password_file")}
	}
	switch m := m.(type) {
	case *pgproto3.AuthenticationCleartextPassword:
		if !s.encrypted {
			return nil, &failure{Denied, errors.New("the server wants the password in clear text, which needs tls")}
		}
		return &pgproto3.PasswordMessage{Password: s.password}, nil
	case *pgproto3.AuthenticationMD5Password:
		return &pgproto3.PasswordMessage{Password: "md5" + md5Hex(md5Hex(s.password+s.from.User)+string(m.Salt[:]))}, nil
	case *pgproto3.AuthenticationSASL:
		var err error
		s.proof, err = newScram(m.AuthMechanisms, s.password, &s.scram)
		if err != nil {
			return nil, err
		}
		return &pgproto3.SASLInitialResponse{AuthMechanism: scramMechanism, Data: s.proof.first()}, nil
	case *pgproto3.AuthenticationSASLContinue:
		answer, err := s.proof.final(m.Data)
		return &pgproto3.SASLResponse{Data: answer}, err
	case *pgproto3.AuthenticationSASLFinal:
		return nil, s.proof.verify(m.Data)
	}
	return nil, &failure{Denied, errors.New("the server asks for GSSAPI or SSPI, which ebb does not speak")}
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s)) //nolint:gosec // the protocol's own
	return hex.EncodeToString(sum[:])
}

// failed is the result of an error while a message was awaited.
func (s *postgresSession) failed(err error) Result {
	r := failed(err)
	if r.Reason == Error { // of pgproto3: what came is no message
		r.Reason = Garbled
	}
	return r
}

// refused is what an error of the server means, by its class (appendix A of PostgreSQL's documentation).
func (s *postgresSession) refused(m *pgproto3.ErrorResponse) Result {
	r := Result{Detail: oneLine(m.Message + " (" + m.Code + ")")}
	class := clip2(m.Code)
	switch {
	case m.Code == "53300": // max_connections, or the limit of the role or the database
		r.Alive, r.Full, r.Reason = true, true, TooBusy
	case class == "57": // starting, recovering, shutting down
		r.Reason = Unready
	case class == "28", class == "3D", class == "42":
		r.Reason = Denied
		if s.from.User == "" { // who asks for nobody in particular is not owed a login
			r.Alive, r.Reason = true, OK
		}
	default:
		r.Reason = Error
	}
	return r
}

// clip2 is the class of a code.
func clip2(code string) string { return code[:min(len(code), 2)] }

// query asks for role, timeline and lag.
func (s *postgresSession) query() Result {
	for {
		simple := s.simple.Load()
		query := postgresQuery
		if simple {
			query = postgresSimpleQuery
		}
		row, refusal, err := s.row(query)
		switch {
		case err != nil:
			return s.failed(err)
		case refusal == nil:
			return postgresResult(row)
		case simple || clip2(refusal.Code) != "0A" && clip2(refusal.Code) != "42" && clip2(refusal.Code) != "55":
			return s.refused(refusal)
		}
		s.simple.Store(true) // a relative of PostgreSQL that does not show its WAL
	}
}

// row runs a query that gives one row.
func (s *postgresSession) row(query string) (row []string, refusal *pgproto3.ErrorResponse, err error) {
	s.SendQuery(&pgproto3.Query{String: query})
	if err := s.Flush(); err != nil {
		return nil, nil, err
	}
	for {
		m, err := s.Receive()
		if err != nil {
			return nil, nil, err
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			row = nil
			for _, v := range m.Values {
				row = append(row, string(v))
			}
		case *pgproto3.ErrorResponse:
			if clip2(m.Code) == "57" { // nothing more will come
				return nil, m, nil
			}
			e := *m
			refusal = &e
		case *pgproto3.ReadyForQuery:
			return row, refusal, nil
		}
	}
}

// postgresResult reads the row of the query.
func postgresResult(row []string) Result {
	if len(row) != 3 || row[0] != "t" && row[0] != "f" {
		return Result{Reason: Garbled, Detail: oneLine(fmt.Sprintf("the query gave %q", row))}
	}
	r := Result{Alive: true, Reason: OK, Role: Replica}
	if row[0] == "f" {
		r.Role, r.LagKnown = Primary, true
		r.Timeline, _ = strconv.ParseUint(row[1], 16, 32) // 0, that is unknown, if it does not say
		return r
	}
	if seconds, err := strconv.ParseFloat(row[2], 64); err == nil && seconds < 1e9 {
		r.Lag, r.LagKnown = time.Duration(max(seconds, 0)*1e9), true // below zero: the clocks differ
	}
	return r
}
