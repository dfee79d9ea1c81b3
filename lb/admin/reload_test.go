package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestReloadAndPlan(t *testing.T) {
	f := example()
	srv := serve(t, f, func(Emit) {})
	c := NewClient(srv.Addr(), "")
	f.changes = []string{"pool db: changed backend"}
	if got, err := c.Reload(context.Background()); err != nil || !slices.Equal(got, f.changes) {
		t.Errorf("%q %v", got, err)
	}
	text := strings.Repeat("# a long file\n", 20000)
	if got, err := c.Plan(context.Background(), "ebb.toml", text); err != nil || !slices.Equal(got, f.changes) {
		t.Errorf("%q %v", got, err)
	}
	if len(f.planned) != 1 || f.planned[0] != (PlanRequest{"ebb.toml", text}) {
		t.Errorf("%d plans", len(f.planned))
	}
	f.reloadErr = &Invalid{[]string{"ebb.toml:3: pool: missing", "ebb.toml:9: listener.x: unknown key"}}
	var wrong *Invalid
	if _, err := c.Reload(context.Background()); !errors.As(err, &wrong) || len(wrong.Problems) != 2 {
		t.Errorf("%v", err)
	}
	if _, err := c.Plan(context.Background(), "ebb.toml", "x"); !errors.As(err, &wrong) {
		t.Errorf("%v", err)
	}
	f.reloadErr = errors.New("ebb is stopping")
	var refusal *Refusal
	if _, err := c.Reload(context.Background()); !errors.As(err, &refusal) || refusal.Status != http.StatusConflict || refusal.Text != "ebb is stopping" {
		t.Errorf("%v", err)
	}
}
