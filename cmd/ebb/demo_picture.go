package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
)

// demoRedraw is how often the picture is drawn.
const demoRedraw = 200 * time.Millisecond

// demoPicture is the view on a terminal: one picture that is drawn over itself. It stays in the scrollback when it ends.
type demoPicture struct {
	out   io.Writer
	color bool
	size  func() (width, height int)

	last  demoScene
	drawn time.Duration
	lines int // of the picture on the screen
}

func (p *demoPicture) show(s demoScene) {
	p.last = s
	if p.lines == 0 || s.at-p.drawn >= demoRedraw {
		p.draw()
	}
}

// Write ends the picture with the last scene as it was, and what is written goes below it.
func (p *demoPicture) Write(b []byte) (int, error) {
	p.draw()
	p.lines = 0
	return p.out.Write(b)
}

func (p *demoPicture) draw() {
	width, height := p.size()
	var b strings.Builder
	if p.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", p.lines)
	}
	picture := renderDemo(p.last, width, height-1) // the cursor needs the last line
	for _, line := range picture {
		b.WriteString(line.render(p.color))
		b.WriteString("\x1b[K\r\n")
	}
	b.WriteString("\x1b[J")
	_, _ = io.WriteString(p.out, b.String()) // a terminal that is gone: the signal that follows ends us
	p.lines, p.drawn = len(picture), p.last.at
}

// The looks of a line, as parameters of the terminal's SGR sequence.
const (
	lookPlain  = ""
	lookBold   = "1"
	lookDim    = "2"
	lookRed    = "31"
	lookGreen  = "32"
	lookYellow = "33"
)

// demoLine is one line of the picture, in one look.
type demoLine struct{ look, text string }

func (l demoLine) render(color bool) string {
	if !color || l.look == lookPlain || l.text == "" {
		return l.text
	}
	return "\x1b[" + l.look + "m" + l.text + "\x1b[0m"
}

// renderDemo draws a scene. Lines are cut at width; if there are more than height, old epochs are left out, and then
// the end.
func renderDemo(s demoScene, width, height int) []demoLine {
	var before, epochs, after []demoLine
	add := func(to *[]demoLine, look, format string, args ...any) {
		*to = append(*to, demoLine{look, fmt.Sprintf(format, args...)})
	}

	add(&before, lookBold, "ebb demo: a name that moves under load%*s", max(width-38, 8), fmt.Sprintf("%.1fs", s.at.Seconds()))
	add(&before, lookPlain, "")
	for i, record := range s.answer.records {
		add(&before, lookPlain, "%-10s%s", heading("dns", i), record)
	}
	add(&before, lookDim, "%-10s%s  %.1fs ago", "", s.answer.change, max(s.now.Sub(s.answer.since), 0).Seconds())
	look := lookGreen
	if s.count.failed > 0 || s.count.lost > 0 {
		look = lookRed
	}
	add(&before, look, "%-10s%.0f/s, %d connections, %s echoed, %d failed", "client", s.rate, s.count.connections, size(s.count.bytes), s.count.failed)
	add(&before, look, "%-10s%d datagrams by UDP, %d lost", "", s.count.datagrams, s.count.lost)
	if s.failure != "" {
		add(&before, lookRed, "%-10s%s", "", s.failure)
	}
	add(&before, lookPlain, "")

	add(&before, lookDim, "%-10s%-10s%8s%10s", "EPOCH", "CAUSE", "AGE", "SESSIONS")
	for _, e := range slices.Backward(s.pool.Epochs) {
		look, state := lookGreen, "current"
		if e.Retired {
			look, state = lookYellow, "retired"
		}
		add(&epochs, look, "%-10d%-10s%8s%10d  %s %s", e.ID, e.Cause, fmt.Sprintf("%.1fs", max(s.now.Sub(e.Born), 0).Seconds()), e.Sessions,
			state, strings.Repeat("#", int(max(e.Sessions, 0))))
	}

	reclaimed := fmt.Sprintf("%-10s%d of %d", "reclaimed", s.pool.EpochsReclaimed, s.pool.EpochsPublished)
	separator := "; epoch "
	for _, f := range s.freed {
		more := reclaimed + separator + f.String()
		if len(more) > width {
			break
		}
		reclaimed, separator = more, ", "
	}
	add(&after, lookPlain, "%s", reclaimed)
	add(&after, lookPlain, "")
	add(&after, lookDim, "%-22s%-12s%-10s%8s%10s", "PEER", "SAYS", "STATE", "ACTIVE", "SERVED")
	for _, b := range s.backends {
		peer := demoPeer(s.pool, b)
		look := lookPlain
		switch peer.State {
		case "draining":
			look = lookYellow
		case "unlisted":
			look = lookDim
		}
		add(&after, look, "%-22s%-12s%-10s%8d%10d", b.addr, b.name, peer.State, peer.Active, s.count.met[b.name])
	}

	room := max(height-len(before)-len(after), 1)
	if len(epochs) > room {
		left := len(epochs) - room + 1
		epochs = epochs[:room-1]
		add(&epochs, lookYellow, "%-10s%d older", "...", left)
	}
	picture := slices.Concat(before, epochs, after)
	picture = picture[:min(len(picture), max(height, 1))]
	for i := range picture {
		picture[i].text = cut(picture[i].text, width)
	}
	return picture
}

// heading is the word on the first of several lines.
func heading(word string, i int) string {
	if i > 0 {
		return ""
	}
	return word
}

// demoPeer is a backend as the table knows it; one that no epoch lists has no sessions.
func demoPeer(p admin.Pool, b *demoBackend) admin.Peer {
	for _, peer := range p.Peers {
		if peer.Addr == b.addr.String() {
			return peer
		}
	}
	return admin.Peer{State: "unlisted"}
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 10_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}

// cut shortens a line to the width of the terminal. What is drawn here has one column for each character.
func cut(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:max(width, 0)])
	}
	return s
}
