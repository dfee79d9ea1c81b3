package lb

import (
	"context"
	"log/slog"
	"strings"

	"github.com/ebb-lb/ebb/lb/admin"
)

// eventMessages are the lines of the log that are events, too: what happened to the balancer, not to one session. The
// kind of an event is its message with underscores, and scripts depend on it.
var eventMessages = []string{
	"ready", "not ready", "reload", "reload failed", "no longer listening", "pool gone", "stopping", "listening",
	"epoch", "epoch freed", "peers to offer", "no peer left", "another tier serves",
	"peer up", "peer down", "peer unwanted", "peer role", "peer weight", "several primaries", "no rival primary", "peer gone", "peer ejected", "sessions closed", "sessions killed",
	"pool held", "pool released", "switch begun", "switch done", "switch given up",
	"dns failing", "dns well again", "dns answer empty", "dns answer filtered", "dns answer too large", "dns server",
}

var eventKinds = func() map[string]string {
	kinds := make(map[string]string)
	for _, msg := range eventMessages {
		kinds[msg] = strings.ReplaceAll(msg, " ", "_")
	}
	return kinds
}()

// eventHandler passes log records on, and makes events of those that are, whatever the level of the log. One call says a
// thing once, to both.
type eventHandler struct {
	slog.Handler
	events *admin.Events
	attrs  []slog.Attr
}

// Enabled is true, for an event is remembered even where the log does not want it.
func (h *eventHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *eventHandler) Handle(ctx context.Context, r slog.Record) error {
	if kind, is := eventKinds[r.Message]; is {
		attrs := make(map[string]any)
		put := func(a slog.Attr) bool {
			if a = inUnits(nil, a); a.Value.Kind() == slog.KindAny {
				if err, failed := a.Value.Any().(error); failed {
					a.Value = slog.StringValue(err.Error())
				}
			}
			attrs[a.Key] = a.Value.Any()
			return true
		}
		for _, a := range h.attrs {
			put(a)
		}
		r.Attrs(put)
		h.events.Add(admin.Event{Time: r.Time.UTC(), Kind: kind, Level: strings.ToLower(r.Level.String()), Attrs: attrs})
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h *eventHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &eventHandler{h.Handler.WithAttrs(attrs), h.events, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}
