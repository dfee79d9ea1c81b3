package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

// topModel is the screen of ebb top: what was seen last, and how it is to be shown.
type topModel struct {
	look     func(conns bool) (topSample, error)
	interval time.Duration

	now, before   *topSample
	err           error // of the last look
	paused        bool
	view          int
	order         []topOrder // of each view
	offset        int        // the first row that is shown
	width, height int
}

// topOrder is the column by which a view is sorted; -1 is as ebb gives it.
type topOrder struct {
	column  int
	reverse bool
}

// Messages: what a look has found, and that it is time for one.
type (
	topLooked struct {
		sample topSample
		err    error
	}
	topTime struct{}
)

func newTopModel(look func(conns bool) (topSample, error), interval time.Duration) *topModel {
	m := &topModel{look: look, interval: interval, width: 80, height: 24}
	for _, t := range topTables {
		m.order = append(m.order, topOrder{column: t.sort})
	}
	return m
}

// take makes a sample the last one.
func (m *topModel) take(s topSample) { m.before, m.now = m.now, &s }

// Init waits for the time of the second look; the first has been taken.
func (m *topModel) Init() tea.Cmd { return m.wait() }

func (m *topModel) wait() tea.Cmd {
	return tea.Tick(m.interval, func(time.Time) tea.Msg { return topTime{} })
}

func (m *topModel) ask() tea.Cmd {
	conns := m.view == topConns
	return func() tea.Msg {
		s, err := m.look(conns)
		return topLooked{s, err}
	}
}

// Update has one look under way at a time, or the wait for it.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case topTime:
		return m, m.ask()
	case topLooked:
		if m.err = msg.err; msg.err == nil && !m.paused {
			m.take(msg.sample)
		}
		return m, m.wait()
	case tea.KeyPressMsg:
		return m, m.press(msg.String())
	}
	return m, nil
}

func (m *topModel) press(key string) tea.Cmd {
	order := &m.order[m.view]
	columns := len(topTables[m.view].head)
	switch key {
	case "q", "ctrl+c", "esc":
		return tea.Quit
	case "tab":
		m.show((m.view + 1) % len(topTables))
	case "shift+tab":
		m.show((m.view + len(topTables) - 1) % len(topTables))
	case "right", "l", ">":
		order.column = (order.column + 1) % columns
	case "left", "h", "<":
		order.column = (max(order.column, 0) + columns - 1) % columns
	case "r":
		order.reverse = !order.reverse
	case "space", "p":
		m.paused = !m.paused
	case "down", "j":
		m.offset++
	case "up", "k":
		m.offset--
	case "pgdown":
		m.offset += m.room()
	case "pgup":
		m.offset -= m.room()
	case "home", "g":
		m.offset = 0
	case "end", "G":
		m.offset = 1 << 30
	default:
		for i, t := range topTables {
			if t.key == key {
				m.show(i)
			}
		}
	}
	return nil
}

func (m *topModel) show(view int) { m.view, m.offset = view, 0 }

// topFixed is how many lines are there besides rows: three above the table, its head, and the keys.
const topFixed = 5

// room is how many rows fit.
func (m *topModel) room() int { return max(m.height-topFixed, 1) }

// Attributes of text. NO_COLOR asks for no colour; these are none.
const (
	bold    = "\x1b[1m"
	reverse = "\x1b[7m"
	plain   = "\x1b[m"
)

// View fits into 80 columns and 24 lines, or whatever there is.
func (m *topModel) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "ebb top"
	return v
}

func (m *topModel) screen() string {
	s, t := m.now, topTables[m.view]
	lines := []string{bold + clip(m.title(), m.width) + plain, clip(m.figures(), m.width), m.tabs()}
	rows := t.rows(s, m.before)
	order := m.order[m.view]
	head := append([]string{}, t.head...)
	if order.column >= 0 {
		sortRows(rows, order.column, order.reverse)
		mark := "▼"
		if order.reverse {
			mark = "▲"
		}
		head[order.column] += mark
	}
	if last := len(head) - 1; order.column != last && silent(rows, last) {
		head = head[:last]
	}
	table := layout(head, rows, m.width)
	m.offset = min(max(m.offset, 0), max(len(rows)-m.room(), 0))
	lines = append(lines, bold+table[0]+plain)
	shown := table[1+m.offset:]
	shown = shown[:min(len(shown), m.room())]
	lines = append(lines, shown...)
	for range m.room() - len(shown) {
		lines = append(lines, "")
	}
	lines = append(lines, reverse+clip(m.keys(len(rows), len(shown)), m.width)+plain)
	return strings.Join(lines, "\n")
}

func (m *topModel) title() string {
	s := m.now
	state := strings.ReplaceAll(s.state(), "-", " ")
	if m.paused {
		state += ", PAUSED"
	}
	if why := slices.Concat(s.Reasons, remarks(&s.Status)); len(why) > 0 {
		state += ": " + printable(why[0])
	}
	if m.err != nil {
		state = "NO ANSWER: " + printable(m.err.Error())
	}
	return fmt.Sprintf("ebb %s  up %s  %s  %s", printable(s.Version), age(seconds(s.Uptime)), s.at.Local().Format("15:04:05"), state)
}

func (m *topModel) figures() string {
	t := m.now.totals()
	var r topRates
	if m.before != nil {
		r = m.now.since(m.before)
	}
	text := fmt.Sprintf("sessions %d  new %s/s  in %s/s  out %s/s  peers %d of %d  epochs %d",
		t.active, perSecond(r.sessions), bytesOf(int64(r.in)), bytesOf(int64(r.out)), t.selectable, t.peers, t.epochs)
	if t.waiting > 0 {
		text += fmt.Sprintf("  waiting %d", t.waiting)
	}
	return text
}

func (m *topModel) tabs() string {
	const narrow = 53 // what the names take
	var b strings.Builder
	for i, t := range topTables {
		text := " " + t.key + " "
		if m.width >= narrow {
			text += t.name + " "
		}
		if i == m.view {
			text = reverse + text + plain
		}
		b.WriteString(text)
	}
	return b.String()
}

// keys says what can be pressed, and which of the rows are shown.
func (m *topModel) keys(rows, shown int) string {
	text := "q quit  1-5 view  ←→ sort  r reverse  ↑↓ scroll  space pause"
	all := ""
	if n := m.now.matched; m.view == topConns && n > rows {
		all = fmt.Sprintf(" (%d)", n)
	}
	if rows > shown || all != "" {
		text += fmt.Sprintf("  %d-%d/%d%s", m.offset+min(1, shown), m.offset+shown, rows, all)
	}
	return text
}
