package check

import (
	"context"
	"database/sql/driver"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// queries answers each query by its first words: a table, the names first, or an error of the server.
type queries map[string]any

func (q queries) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	for words, answer := range q {
		if !strings.HasPrefix(query, words) {
			continue
		}
		if number, ok := answer.(int); ok {
			return nil, &mysql.MySQLError{Number: uint16(number), Message: "no"}
		}
		return &answeredRows{answer.([][]string)}, nil
	}
	return nil, &mysql.MySQLError{Number: 1064, Message: "syntax"}
}

type answeredRows struct{ table [][]string }

func (a *answeredRows) Columns() []string { return a.table[0] }
func (a *answeredRows) Close() error      { return nil }
func (a *answeredRows) Next(into []driver.Value) error {
	if len(a.table) < 2 {
		return io.EOF
	}
	for i, v := range a.table[1] {
		into[i] = []byte(v)
		if v == "NULL" {
			into[i] = nil
		}
	}
	a.table = append(a.table[:1:1], a.table[2:]...)
	return nil
}

func variables(pairs ...string) [][]string {
	out := [][]string{{"Variable_name", "Value"}}
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, []string{pairs[i], pairs[i+1]})
	}
	return out
}

func TestMySQLState(t *testing.T) {
	const vars, status, replica, old = "SHOW GLOBAL VARIABLES", "SHOW GLOBAL STATUS", "SHOW REPLICA", "SHOW SLAVE"
	readOnly := variables("read_only", "ON")
	primary := Result{Alive: true, Reason: OK, Role: Primary, LagKnown: true}
	behind := func(column string, lags ...string) [][]string {
		out := [][]string{{"Channel_Name", column}}
		for _, l := range lags {
			out = append(out, []string{"", l})
		}
		return out
	}
	for _, c := range []struct {
		name    string
		answers queries
		want    Result
	}{
		{"primary", queries{vars: variables("read_only", "OFF")}, primary},
		{"super_read_only alone", queries{vars: variables("read_only", "OFF", "super_read_only", "ON"), replica: behind("Seconds_Behind_Source", "0")}, Result{Alive: true, Reason: OK, Role: Replica, LagKnown: true}},
		{"MariaDB's other words for read_only", queries{vars: variables("read_only", "NO_LOCK_NO_ADMIN"), replica: behind("Seconds_Behind_Master", "3")}, Result{Alive: true, Reason: OK, Role: Replica, Lag: 3 * time.Second, LagKnown: true}},
		{"replica of old", queries{vars: readOnly, old: behind("Seconds_Behind_Master", "7")}, Result{Alive: true, Reason: OK, Role: Replica, Lag: 7 * time.Second, LagKnown: true}},
		{"the worst of two channels", queries{vars: readOnly, replica: behind("Seconds_Behind_Source", "7", "9")}, Result{Alive: true, Reason: OK, Role: Replica, Lag: 9 * time.Second, LagKnown: true}},
		{"one channel is broken", queries{vars: readOnly, replica: behind("Seconds_Behind_Source", "7", "NULL")}, Result{Alive: true, Reason: OK, Role: Replica, Detail: "does not run"}},
		{"a replica of nobody", queries{vars: readOnly, replica: behind("Seconds_Behind_Source")}, Result{Alive: true, Reason: OK, Role: Replica, Detail: "no replica"}},
		{"no privilege for the lag", queries{vars: readOnly, replica: 1227}, Result{Alive: true, Reason: OK, Role: Replica, Detail: "lag unknown: no (1227)"}},
		{"galera in step", queries{vars: variables("read_only", "OFF", "wsrep_on", "ON"), status: variables("wsrep_ready", "ON", "wsrep_local_state", "4")}, primary},
		{"galera donor", queries{vars: variables("read_only", "OFF", "wsrep_on", "ON"), status: variables("wsrep_ready", "ON", "wsrep_local_state", "2", "wsrep_local_state_comment", "Donor/Desynced", "wsrep_cluster_status", "Primary")}, Result{Reason: Unready, Detail: "galera: Donor/Desynced, cluster Primary"}},
		{"galera alone", queries{vars: variables("read_only", "OFF", "wsrep_on", "ON"), status: variables("wsrep_ready", "OFF", "wsrep_local_state", "4", "wsrep_cluster_status", "non-Primary")}, Result{Reason: Unready, Detail: "non-Primary"}},
	} {
		r, err := mysqlState(t.Context(), c.answers)
		if err != nil || !strings.Contains(r.Detail, c.want.Detail) {
			t.Errorf("%s: %+v, %v, want detail %q", c.name, r, err, c.want.Detail)
		}
		r.Detail, c.want.Detail = "", ""
		if r != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, r, c.want)
		}
	}
	for name, answers := range map[string]queries{
		"no variables": {vars: variables("x", "y")},
		"an error":     {vars: 1105},
		"another one":  {vars: readOnly, replica: 1105},
	} {
		if r, err := mysqlState(t.Context(), answers); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
