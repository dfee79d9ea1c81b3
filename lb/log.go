package lb

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// LogForm is what the lines of a logger look like: "text" or "json". It may change while lines are written.
type LogForm struct{ text atomic.Bool }

// Set takes the form of the lines from now on.
func (f *LogForm) Set(form string) { f.text.Store(form == "text") }

// NewLogForm gives a form to start with.
func NewLogForm(form string) *LogForm {
	f := &LogForm{}
	f.Set(form)
	return f
}

// NewLogger makes a logger on w from the level up. Durations are in milliseconds, the time in UTC.
func NewLogger(w io.Writer, form *LogForm, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: inUnits}
	return slog.New(formed{form, slog.NewTextHandler(w, o), slog.NewJSONHandler(w, o)})
}

// formed writes each record in the form of the moment.
type formed struct {
	form       *LogForm
	text, json slog.Handler
}

func (h formed) Enabled(ctx context.Context, l slog.Level) bool { return h.json.Enabled(ctx, l) }

func (h formed) Handle(ctx context.Context, r slog.Record) error {
	if h.form.text.Load() {
		return h.text.Handle(ctx, r)
	}
	return h.json.Handle(ctx, r)
}

func (h formed) WithAttrs(attrs []slog.Attr) slog.Handler {
	return formed{h.form, h.text.WithAttrs(attrs), h.json.WithAttrs(attrs)}
}

func (h formed) WithGroup(name string) slog.Handler {
	return formed{h.form, h.text.WithGroup(name), h.json.WithGroup(name)}
}

// inUnits gives an attribute the form that lines and events have.
func inUnits(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindDuration:
		return slog.Float64(a.Key+"_ms", milliseconds(a.Value.Duration()))
	case slog.KindTime:
		return slog.Time(a.Key, a.Value.Time().UTC())
	}
	return a
}

// milliseconds is d with microsecond precision.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
