package check

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// mysqlProbe is the "mysql" kind. With a user it logs in, asks, and quits.
//
// A server counts the connections that end while it waits for a login, and after max_connect_errors of them in a row it
// locks their host out: through ebb, all clients. So no probe leaves without one. Without a user, and where the probe gives
// up, that is the login of a stranger: to be refused is no such error. One that has begun when it is called off goes on for a
// moment, and one that gives up later says that it quits.
type mysqlProbe struct {
	way  *way
	from Options
}

func newMySQL(o Options) (probeFunc, error) {
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	p := &mysqlProbe{way: w, from: o}
	if o.User == "" {
		return p.greet, nil
	}
	return p.ask, nil
}

// ask logs in and asks.
func (p *mysqlProbe) ask(ctx context.Context, target netip.AddrPort) Result {
	ctx, cancel := finishing(ctx)
	defer cancel()
	password, err := readSecret(p.from.PasswordFile)
	if err != nil {
		return failed(err)
	}
	var link *greeted
	conf := mysql.NewConfig()
	conf.User, conf.Passwd, conf.Net, conf.Addr, conf.Logger = p.from.User, password, "tcp", target.String(), &mysql.NopLogger{}
	conf.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var err error
		link, err = p.meet(ctx, target)
		if err != nil {
			return nil, err
		}
		return link, nil
	}
	if p.way.certs != nil {
		if conf.TLS, err = p.way.certs.config(target.Addr()); err != nil {
			return failed(err)
		}
	}
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return failed(err)
	}
	start := time.Now()
	c, err := connector.Connect(ctx)
	if link != nil {
		defer func() { link.leave(ctx.Err() != nil && p.way.certs == nil) }()
	}
	if err != nil {
		return mysqlFailed(ctx, link, err)
	}
	defer func() { _ = c.Close() }() // says that it quits
	r, err := mysqlState(ctx, c.(driver.QueryerContext))
	if err != nil {
		return mysqlFailed(ctx, link, err)
	}
	r.Latency = time.Since(start)
	return r
}

// meet connects and reads the greeting.
func (p *mysqlProbe) meet(ctx context.Context, target netip.AddrPort) (*greeted, error) {
	c, err := p.way.dial(ctx, target)
	if err != nil {
		return nil, err
	}
	g := &greeted{conn: c}
	packet, err := readPacket(c)
	if err == nil {
		g.greeting, err = parseGreeting(packet.body)
		g.again = packet.bytes()
	}
	if err == nil && p.way.certs != nil && g.greeting.capabilities&clientSSL == 0 {
		err = &failure{BadTLS, errors.New("the server offers no TLS")}
	}
	if err != nil {
		g.leave(false)
		return nil, err
	}
	return g, nil
}

// greeted is a connection whose greeting was read, and is given again to who reads next: the driver would make room for as
// much as the first bytes of anything that is no MySQL seem to announce.
type greeted struct {
	*conn
	greeting greeting
	again    []byte
	answered bool // the greeting was

	mu   sync.Mutex
	left bool // Close has no say any more
}

func (g *greeted) Write(b []byte) (int, error) {
	g.answered = true
	return g.conn.Write(b)
}

// Close is for the driver, which calls it from any of its goroutines: it only ends what the driver waits for. Who made the
// connection leaves it.
func (g *greeted) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left {
		return nil
	}
	return g.SetDeadline(time.Unix(1, 0))
}

// leave ends the connection. A server that is only slow finds a login when it comes to read one, and that who logged in quits.
func (g *greeted) leave(quit bool) {
	g.mu.Lock()
	g.left = true
	g.mu.Unlock()
	var last []byte
	if !g.answered {
		last, quit = packet{1, strangerLogin(strangerCapabilities)}.bytes(), true
	}
	if quit && g.SetDeadline(time.Now().Add(politeTime)) == nil {
		_, _ = g.Write(append(last, quitPacket...))
	}
	leave(g.conn)
}

func (g *greeted) Read(p []byte) (int, error) {
	if len(g.again) > 0 {
		n := copy(p, g.again)
		g.again = g.again[n:]
		return n, nil
	}
	return g.conn.Read(p)
}

// mysqlFailed is the result of an error of the driver, which keeps errors of the connection to itself.
func mysqlFailed(ctx context.Context, link *greeted, err error) Result {
	var said *mysql.MySQLError
	var first *mysqlError
	switch {
	case errors.As(err, &said):
		return mysqlRefused(said.Number, said.Message)
	case errors.As(err, &first):
		return mysqlRefused(first.number, first.message)
	case errors.Is(err, mysql.ErrMalformPkt), errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrPktSyncMul), errors.Is(err, mysql.ErrPktTooLarge):
		err = &failure{Garbled, err}
	case errors.Is(err, mysql.ErrCleartextPassword), errors.Is(err, mysql.ErrUnknownPlugin), errors.Is(err, mysql.ErrOldPassword), errors.Is(err, mysql.ErrNativePassword):
		err = &failure{Denied, err}
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, mysql.ErrInvalidConn), reason(err) == Error:
		if cause := ctx.Err(); cause != nil {
			err = cause
		} else if link != nil && link.broken != nil {
			err = link.broken
		}
	}
	return failed(err)
}

// mysqlRefused is what an error of the server means. The numbers are those of MySQL and MariaDB alike.
func mysqlRefused(number uint16, message string) Result {
	r := Result{Detail: oneLine(fmt.Sprintf("%s (%d)", message, number))}
	switch number {
	case 1040, 1203, 1226: // too many connections: of all, of the user
		r.Alive, r.Full, r.Reason = true, true, TooBusy
	case 1044, 1045, 1130, 1142, 1227, 1698, 1129, 3118, 1862: // access, privileges, the host, an account that is locked or expired
		r.Reason = Denied
	case 1047, 1053, 1077, 1079: // not in step with the cluster, shutting down
		r.Reason = Unready
	case 3159: // require_secure_transport
		r.Reason = BadTLS
	default:
		r.Reason = Error
	}
	return r
}

// mysqlState asks for read_only and what belongs to it. Variables and states are shown to any user.
func mysqlState(ctx context.Context, c driver.QueryerContext) (Result, error) {
	rows, err := mysqlRows(ctx, c, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only', 'wsrep_on')")
	if err != nil {
		return Result{}, err
	}
	vars := mysqlPairs(rows)
	if _, ok := vars["read_only"]; !ok {
		return Result{}, &failure{Garbled, errors.New("the server shows no read_only")}
	}
	if isOn(vars["wsrep_on"]) {
		if r, err := galera(ctx, c); err != nil || !r.Alive {
			return r, err
		}
	}
	r := Result{Alive: true, Reason: OK, Role: Primary, LagKnown: true}
	if readOnly := vars["read_only"]; readOnly == "OFF" && !isOn(vars["super_read_only"]) {
		return r, nil
	}
	r.Role = Replica
	r.Lag, r.LagKnown, r.Detail, err = mysqlLag(ctx, c)
	return r, err
}

func isOn(value string) bool { return strings.EqualFold(value, "ON") || value == "1" }

// galera tells whether a node of a Galera cluster is ready for queries and in step with the others.
func galera(ctx context.Context, c driver.QueryerContext) (Result, error) {
	rows, err := mysqlRows(ctx, c, "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_status', 'wsrep_local_state', 'wsrep_local_state_comment')")
	if err != nil {
		return Result{}, err
	}
	s := mysqlPairs(rows)
	if isOn(s["wsrep_ready"]) && s["wsrep_local_state"] == "4" { // Synced
		return Result{Alive: true}, nil
	}
	return Result{Reason: Unready, Detail: oneLine(fmt.Sprintf("galera: %s, cluster %s, wsrep_ready %s",
		or(s["wsrep_local_state_comment"], "no state"), or(s["wsrep_cluster_status"], "unknown"), or(s["wsrep_ready"], "unknown")))}, nil
}

// mysqlLag asks a replica how far it is behind: the worst of its channels. A server that does not know, because a thread of
// its replication has stopped, says NULL; nor does one that shows it to other users only.
func mysqlLag(ctx context.Context, c driver.QueryerContext) (lag time.Duration, known bool, detail string, err error) {
	var rows []map[string]string
	for _, query := range []string{"SHOW REPLICA STATUS", "SHOW SLAVE STATUS"} { // the second is for servers before 8.0.22 and 10.5
		rows, err = mysqlRows(ctx, c, query)
		var said *mysql.MySQLError
		if !errors.As(err, &said) {
			break
		}
		if r := mysqlRefused(said.Number, said.Message); said.Number == 1227 || r.Reason == Denied {
			return 0, false, "lag unknown: " + r.Detail, nil
		} else if said.Number != 1064 { // no such statement
			return 0, false, "", err
		}
	}
	if err != nil {
		return 0, false, "", err
	}
	if len(rows) == 0 {
		return 0, false, "lag unknown: read only, but no replica of any server", nil
	}
	for _, row := range rows {
		text, ok := row["Seconds_Behind_Source"]
		if !ok {
			text = row["Seconds_Behind_Master"]
		}
		seconds, notNumber := strconv.ParseUint(text, 10, 32)
		if notNumber != nil {
			return 0, false, "lag unknown: replication does not run", nil //nolint:nilerr // the server has answered, with NULL
		}
		lag = max(lag, time.Duration(seconds)*time.Second)
	}
	return lag, true, "", nil
}

// mostRows bounds the rows of an answer.
const mostRows = 256

// mysqlRows runs a query and gives its rows by the names of their columns. NULL is "NULL".
func mysqlRows(ctx context.Context, c driver.QueryerContext, query string) ([]map[string]string, error) {
	rows, err := c.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	names := rows.Columns()
	values := make([]driver.Value, len(names))
	var out []map[string]string
	for len(out) < mostRows {
		err := rows.Next(values)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		row := make(map[string]string, len(names))
		for i, name := range names {
			switch v := values[i].(type) {
			case []byte:
				row[name] = string(v)
			case nil:
				row[name] = "NULL"
			default:
				row[name] = fmt.Sprint(v)
			}
		}
		out = append(out, row)
	}
	return out, nil
}

// mysqlPairs makes a map of rows that are a name and a value each.
func mysqlPairs(rows []map[string]string) map[string]string {
	out := make(map[string]string, len(rows))
	for _, row := range rows {
		out[strings.ToLower(row["Variable_name"])] = row["Value"]
	}
	return out
}
