package config

import (
	"testing"
	"time"
)

func TestBrief(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{3 * time.Second, "3s"}, {time.Minute, "1m"}, {90 * time.Second, "1m30s"}, {72 * time.Hour, "72h"}, {time.Hour + time.Second, "1h0m1s"}, {500 * time.Millisecond, "500ms"},
	} {
		if got := Brief(c.d); got != c.want {
			t.Errorf("Brief(%v) = %s, want %s", c.d, got, c.want)
		}
	}
}
