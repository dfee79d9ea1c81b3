package config

import (
	"testing"
	"time"
)

func TestFailback(t *testing.T) {
	for text, want := range map[string]time.Duration{"immediate": 0, "never": NeverFailback, "after=5m": 5 * time.Minute} {
		c, err := Parse("f", whole+"[pool.p]\nfailback = \""+text+"\"\n", nil)
		if err != nil || c.Pools[0].Failback != want {
			t.Errorf("%s: %v, %v", text, c, err)
		}
	}
}
