package lb

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// What drivers report of a client that is turned away, by the way it is: no place, no peer, no answer in the queue.
var drivers = map[string]struct {
	ask        func(t *testing.T, addr string) string
	busy, none string
}{
	"postgres": {askPostgres, "53300 too many connections (ebb: ", "57P03 no server can be reached (ebb: "},
	"mysql":    {askMySQL, "1040 08004 too many connections (ebb: ", "1053 08S01 no server can be reached (ebb: "},
	"redis":    {askRedis, "ERR max number of clients reached", "LOADING no server can be reached (ebb: "},
}

func askPostgres(t *testing.T, addr string) string {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, "postgres://me@"+addr+"/db?sslmode=disable")
	if err == nil {
		_ = c.Close(ctx)
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		t.Fatalf("pgx: %v", err)
	}
	return e.Code + " " + e.Message
}

func askMySQL(t *testing.T, addr string) string {
	db, err := sql.Open("mysql", "me@tcp("+addr+")/db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var e *mysql.MySQLError
	if err := db.PingContext(t.Context()); !errors.As(err, &e) {
		t.Fatalf("mysql: %v", err)
	}
	return strconv.Itoa(int(e.Number)) + " " + string(e.SQLState[:]) + " " + e.Message
}

func askRedis(t *testing.T, addr string) string {
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DisableIdentity: true, ReadTimeout: patience})
	defer c.Close()
	err := c.Get(t.Context(), "key").Err()
	if err == nil {
		t.Fatal("redis: served")
	}
	return err.Error()
}

func TestDriversReportWhyTheyAreTurnedAway(t *testing.T) {
	for dialect, driver := range drivers {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t)
			b := serveBackend(t, "127.0.0.2", 0)
			r.pool().Backends = []config.Backend{named("127.0.0.2", b.addr.Port())}
			r.pool().RefuseWith = dialect
			r.listener().MaxConns = 2
			r.pool().MaxConns, r.pool().Queue, r.pool().QueueTimeout = 1, 1, 10*time.Millisecond
			r.serve()
			live := r.dial()
			greeting(t, live)
			ends := 0
			expect := func(end, want string) {
				t.Helper()
				got := driver.ask(t, r.addr())
				if !strings.HasPrefix(got, want) || strings.Contains(want, "(") && got != want+end+")" {
					t.Errorf("%s: %q, want %q", end, got, want)
				}
				ends++
				if all := r.awaitEnds(ends); all[ends-1] != end {
					t.Errorf("ends: %v, want %s", all, end)
				}
			}
			expect("queue_timeout", driver.busy)
			r.reloads(func(c *config.Config) { c.Listeners[0].MaxConns = 1 }, "listener front: changed max_conns")
			expect("limit", driver.busy)
			if n := r.rejections()["max_conns"]; n != 1 {
				t.Errorf("%d rejected", n)
			}
			live.Close()
			ends++
			r.awaitEnds(ends)
			eventually(t, "room", func() bool { return r.held() == 0 })
			if _, err := r.server.OrderPeer("db", b.addr.String(), admin.Order{Word: "drain"}); err != nil {
				t.Fatal(err)
			}
			expect("no_peer", driver.none)
			r.closed()
		})
	}
}

func TestRefusalsWithoutWords(t *testing.T) {
	r := newRig(t)
	gone := listenOn(t, "127.0.0.2", 0)
	gone.Close()
	r.pool().Backends = []config.Backend{named("127.0.0.2", sock.AddrPort(gone.Addr()).Port())}
	r.pool().RefuseWith = "fin"
	r.listener().Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	r.serve()
	c := r.dial()
	if _, err := io.WriteString(c, "unread"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); len(got) != 0 || err != nil {
		t.Errorf("%q %v, want the end", got, err)
	}
	if ends := r.awaitEnds(1); ends[0] != "connect_failed" {
		t.Errorf("ends: %v", ends)
	}
	if err := turnedAwayFrom("127.0.0.9", r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("who may not come in: %v, want a reset", err)
	}
	r.awaitEnds(2)
	r.closed()
}
