package lb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// blocked is a target that takes nothing until it is released.
type blocked struct {
	release chan struct{}
	bytes.Buffer
}

func (b *blocked) Write(p []byte) (int, error) {
	<-b.release
	return b.Buffer.Write(p)
}

func TestLI9ABlockedTargetBlocksNobody(t *testing.T) {
	target := &blocked{release: make(chan struct{})}
	s := NewLogSink(target)
	const lines = logQueued + 500
	line := []byte("line 0000\n")
	for i := range lines {
		copy(line, fmt.Sprintf("line %04d\n", i)) // the buffer is the caller's again when Write returns
		if n, err := s.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	// One line may be in the writer's hand, the queue holds logQueued, the rest is lost and counted.
	lost := int(s.Dropped())
	if lost < lines-logQueued-1 || lost > lines-logQueued {
		t.Fatalf("dropped %d of %d", lost, lines)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	s.Close(ctx) // does not wait for ever
	close(target.release)
	s.Close(context.Background())
	if n, err := s.Write(line); n != len(line) || err != nil || int(s.Dropped()) != lost+1 {
		t.Errorf("after Close: %d %v, dropped %d", n, err, s.Dropped())
	}
	got := strings.Split(strings.TrimSpace(target.String()), "\n")
	if len(got) != lines-lost {
		t.Errorf("%d lines written, want %d", len(got), lines-lost)
	}
	for i, text := range got[:logQueued] {
		if text != fmt.Sprintf("line %04d", i) {
			t.Fatalf("line %d is %q", i, text)
		}
	}
}

type failing struct{ io.Writer }

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAFailingTargetIsCounted(t *testing.T) {
	s := NewLogSink(failing{})
	for range 3 {
		s.Write([]byte("x\n"))
	}
	s.Close(context.Background())
	if s.Dropped() != 3 {
		t.Errorf("dropped %d", s.Dropped())
	}
}

func TestCloseAmongWriters(t *testing.T) {
	s := NewLogSink(io.Discard)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				s.Write([]byte("x\n"))
			}
		})
	}
	s.Close(context.Background())
	wg.Wait()
}

// A sink that is turned from a writer which blocks goes on at once in the other, and each line is written to one of the two.
func TestLI9ABlockedTargetIsLeft(t *testing.T) {
	first, second := &blocked{release: make(chan struct{})}, &blocked{release: make(chan struct{})}
	close(second.release)
	s := NewLogSink(first)
	const writers, each = 4, 500
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				fmt.Fprintf(s, "%d %03d\n", w, i)
			}
		})
	}
	flush := s.Turn(second)
	wg.Wait()
	fmt.Fprintln(s, "the last")
	s.Close(context.Background()) // the other is done although the first has taken nothing
	if !strings.HasSuffix(second.String(), "the last\n") {
		t.Errorf("the second ends with %.20q", second.String()[max(0, second.Len()-20):])
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	flush(ctx) // does not wait for ever
	close(first.release)
	flush(context.Background())
	lines := strings.Fields(strings.ReplaceAll(first.String()+second.String(), " ", "_"))
	slices.Sort(lines)
	if n := len(slices.Compact(lines)); n != writers*each+1 || s.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped", n, s.Dropped())
	}
}

func TestTheFormOfLinesChanges(t *testing.T) {
	var b bytes.Buffer
	form := NewLogForm("json")
	log := NewLogger(&b, form, slog.LevelInfo).With("pool", "db").WithGroup("g")
	for _, want := range []string{`{"time":`, "time=", `{"time":`} {
		if want == "time=" {
			form.Set("text")
		} else {
			form.Set("json")
		}
		b.Reset()
		log.Info("m", "n", 1)
		if got := b.String(); !strings.HasPrefix(got, want) || !strings.Contains(got, "db") || strings.Count(got, "\n") != 1 {
			t.Errorf("line: %s", got)
		}
	}
}

func TestLoggerUnits(t *testing.T) {
	var b bytes.Buffer
	NewLogger(&b, NewLogForm("json"), slog.LevelInfo).Info("m", "took", 1500*time.Microsecond)
	NewLogger(&b, NewLogForm("json"), slog.LevelInfo).Debug("not this")
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["took_ms"] != 1.5 || !strings.HasSuffix(line["time"].(string), "Z") {
		t.Errorf("line: %v", line)
	}
	b.Reset()
	NewLogger(&b, NewLogForm("text"), slog.LevelInfo).Info("m", "took", time.Second)
	if !strings.Contains(b.String(), "took_ms=1000") {
		t.Errorf("line: %s", b.String())
	}
}
