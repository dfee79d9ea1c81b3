package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSwitchOverTheAPI(t *testing.T) {
	s := serve(t, example(), nothing)
	c := NewClient(s.Addr(), "")
	switchTo := func(ctx context.Context, pool string, req SwitchRequest) (steps []string, timeout string, err error) {
		err = c.SwitchPool(ctx, pool, req, func(step SwitchStep) error {
			if step.Pool != pool || step.To != req.To {
				t.Errorf("%+v", step)
			}
			steps = append(steps, step.Step)
			if step.Step == "held" {
				timeout = step.Detail
			}
			return nil
		})
		return steps, timeout, err
	}
	if steps, timeout, err := switchTo(t.Context(), "db", SwitchRequest{To: "192.0.2.1:5432"}); err != nil || !slices.Equal(steps, []string{"held", "done"}) || timeout != "30s" {
		t.Errorf("%v %s %v", steps, timeout, err)
	}
	if steps, timeout, err := switchTo(t.Context(), "db", SwitchRequest{To: "other", Timeout: "90s"}); err == nil || err.Error() != "it was another" || !slices.Equal(steps, []string{"held", "failed"}) || timeout != "1m30s" {
		t.Errorf("%v %s %v", steps, timeout, err)
	}
	for _, timeout := range []string{"30", "0s", "-1s", "soon"} {
		var refused *Refusal
		if _, _, err := switchTo(t.Context(), "db", SwitchRequest{To: "other", Timeout: timeout}); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest || !strings.Contains(err.Error(), `timeout: found "`+timeout+`", expected a duration`) {
			t.Errorf("%s: %v", timeout, err)
		}
	}
	if _, _, err := switchTo(t.Context(), "web", SwitchRequest{To: "other"}); err == nil || err.Error() != "no pool is named web, expected one of db" {
		t.Errorf("%v", err)
	}
	// Who asks may leave; ebb notices.
	ctx, cancel := context.WithCancel(t.Context())
	err := c.SwitchPool(ctx, "db", SwitchRequest{To: "nobody"}, func(SwitchStep) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	enough := errors.New("enough")
	if err := c.SwitchPool(t.Context(), "db", SwitchRequest{To: "nobody"}, func(SwitchStep) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
}

// It goes on for longer than a request may otherwise take to be read.
func TestSwitchOutlivesTheReadTimeout(t *testing.T) {
	begun := false
	for timeout := 20 * time.Millisecond; !begun && timeout < 5*time.Second; timeout *= 2 { // the request is to come within it
		s, err := NewServer(Settings{Listen: "127.0.0.1:0"}, example(), NewMetrics(nothing), NewEvents(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		s.http.ReadTimeout = timeout
		go s.Serve()
		defer s.Shutdown(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err = NewClient(s.Addr(), "").SwitchPool(ctx, "db", SwitchRequest{To: "nobody"}, func(SwitchStep) error {
			begun = true
			time.AfterFunc(10*timeout, cancel)
			return nil
		})
		if begun && !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	if !begun {
		t.Error("it does not begin")
	}
}
