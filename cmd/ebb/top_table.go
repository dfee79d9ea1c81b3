package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// topTable is one of the views: what top shows of a sample, a row for each thing.
type topTable struct {
	key, name string
	head      []string
	sort      int // the column by which it is sorted at first, the largest first; -1 is none
	rows      func(s, before *topSample) [][]topCell
}

// topCell is one value, as it is shown and as it is sorted.
type topCell struct {
	text   string
	number float64
	isText bool
}

func word(s string) topCell {
	if s == "" {
		s = "-"
	}
	return topCell{text: printable(s), isText: true}
}

func number[N int | int64 | uint64](n N) topCell {
	return topCell{text: fmt.Sprint(n), number: float64(n)}
}

func amount(n int64) topCell      { return topCell{text: bytesOf(n), number: float64(n)} }
func frequency(f float64) topCell { return topCell{text: perSecond(f), number: f} }
func span(s float64) topCell      { return topCell{text: age(seconds(s)), number: s} }

// printable takes out what would move the cursor: names and reasons come from DNS and from peers.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r < 0x300 { // one column each
			return r
		}
		return '?'
	}, s)
}

var topTables = []topTable{
	{"1", "peers", []string{"PEER", "POOL", "STATE", "HEALTH", "ROLE", "WEIGHT", "ACTIVE", "NEW/S", "TOTAL", "WHY"}, 6, peerRows},
	{"2", "listeners", []string{"LISTENER", "ADDRESS", "POOL", "ACTIVE", "NEW/S", "IN/S", "OUT/S", "TOTAL"}, 3, listenerRows},
	{"3", "epochs", []string{"EPOCH", "POOL", "CAUSE", "AGE", "SESSIONS", "RETIRED"}, 4, epochRows},
	{"4", "names", []string{"NAME", "TYPE", "KIND", "TTL", "AGE", "NEXT", "STALE", "FAILED", "RECORDS"}, -1, nameRows},
	{"5", "sessions", []string{"CLIENT", "PEER", "ID", "EPOCH", "AGE", "IDLE", "IN", "OUT"}, 4, connRows},
}

// topConns is the view that needs the list of sessions.
const topConns = 4

func peerRows(s, before *topSample) (rows [][]topCell) {
	type at struct{ pool, addr string }
	was := make(map[at]uint64)
	if before != nil {
		for _, p := range before.Pools {
			for _, peer := range p.Peers {
				was[at{p.Name, peer.Addr}] += peer.Total
			}
		}
	}
	for _, p := range s.Pools {
		for _, peer := range p.Peers {
			fresh := 0.0
			if n, there := was[at{p.Name, peer.Addr}]; there {
				fresh = s.rate(before, float64(peer.Total), float64(n))
			}
			weight := number(peer.Weight)
			weight.text = peerWeight(peer)
			rows = append(rows, []topCell{
				word(peer.Addr), word(p.Name + leaving(p.Leaving)), word(peerState(peer, s.at)), word(peer.Health), word(peer.Role), weight,
				number(peer.Active), frequency(fresh), number(peer.Total), word(peerWhy(peer)),
			})
		}
	}
	return rows
}

func listenerRows(s, before *topSample) (rows [][]topCell) {
	for _, l := range s.Listeners {
		var r topRates
		if before != nil {
			for _, was := range before.Listeners {
				if was.Name == l.Name && was.Address == l.Address && was.Protocol == l.Protocol && was.Pool == l.Pool && was.Leaving == l.Leaving {
					r = topRates{
						s.rate(before, float64(l.Total), float64(was.Total)),
						s.rate(before, float64(l.In), float64(was.In)), s.rate(before, float64(l.Out), float64(was.Out)),
					}
				}
			}
		}
		rows = append(rows, []topCell{
			word(l.Name + leaving(l.Leaving)), word(l.Protocol + "://" + l.Address), word(l.Pool),
			number(l.Active), frequency(r.sessions), amount(int64(r.in)), amount(int64(r.out)), number(l.Total),
		})
	}
	return rows
}

func epochRows(s, _ *topSample) (rows [][]topCell) {
	for _, p := range s.Pools {
		for _, e := range p.Epochs {
			retired := "no"
			if e.Retired {
				retired = "yes"
			}
			rows = append(rows, []topCell{
				number(e.ID), word(p.Name), word(e.Cause), span(s.at.Sub(e.Born).Seconds()), number(e.Sessions), word(retired),
			})
		}
	}
	return rows
}

func nameRows(s, _ *topSample) (rows [][]topCell) {
	for _, n := range s.DNS {
		stale := "no"
		if n.Stale {
			stale = "yes"
		}
		rows = append(rows, []topCell{
			word(n.Name), word(n.Type), word(n.Kind), span(n.TTL), span(n.Age), span(n.Next), word(stale), number(n.Failures), word(strings.Join(n.Records, ",")),
		})
	}
	return rows
}

func connRows(s, _ *topSample) (rows [][]topCell) {
	for _, c := range s.conns {
		epoch := word("")
		if c.Epoch > 0 {
			epoch = topCell{text: strconv.FormatUint(c.Epoch, 10), number: float64(c.Epoch)}
		}
		rows = append(rows, []topCell{
			word(c.Client), word(c.Peer), number(c.ID), epoch, span(c.Age), span(c.Idle), amount(c.In), amount(c.Out),
		})
	}
	return rows
}

// sortRows puts rows in the order of a column: numbers the largest first, words by the alphabet, or the other way round.
// Rows that are equal there keep their order.
func sortRows(rows [][]topCell, column int, reverse bool) {
	slices.SortStableFunc(rows, func(a, b []topCell) int {
		c := cmp.Compare(b[column].number, a[column].number)
		if a[column].isText && b[column].isText {
			c = cmp.Compare(a[column].text, b[column].text)
		}
		if reverse {
			return -c
		}
		return c
	})
}

// silent tells that a column has nothing to say of rows that are there.
func silent(rows [][]topCell, column int) bool {
	return len(rows) > 0 && !slices.ContainsFunc(rows, func(row []topCell) bool { return row[column].text != word("").text })
}

// layout gives lines of a width, the head first. Columns of numbers are to the right; where there is too little room, words in
// the last column give some up, and then the widest columns.
func layout(head []string, rows [][]topCell, width int) []string {
	widths := make([]int, len(head))
	right := make([]bool, len(head))
	for i, h := range head {
		widths[i] = len([]rune(h))
		for _, row := range rows { // which may have more columns
			widths[i] = max(widths[i], len([]rune(row[i].text)))
			right[i] = right[i] || !row[i].isText
		}
	}
	last := len(head) - 1
	for {
		room := width - 2*(len(widths)-1)
		for _, w := range widths {
			room -= w
		}
		if least := max(4, len([]rune(head[last]))); room < 0 && !right[last] && widths[last] > least {
			widths[last] = max(least, widths[last]+room)
			continue
		}
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if room >= 0 || widths[widest] <= 4 {
			break
		}
		widths[widest]--
	}
	line := func(cell func(i int) string) string {
		var b strings.Builder
		for i, w := range widths {
			text := []rune(cell(i))
			if len(text) > w {
				text = append(text[:w-1:w-1], '…')
			}
			pad := strings.Repeat(" ", w-len(text))
			if i > 0 {
				b.WriteString("  ")
			}
			if right[i] {
				b.WriteString(pad)
			}
			b.WriteString(string(text))
			if !right[i] {
				b.WriteString(pad)
			}
		}
		return clip(b.String(), width)
	}
	lines := []string{line(func(i int) string { return head[i] })}
	for _, row := range rows {
		lines = append(lines, line(func(i int) string { return row[i].text }))
	}
	return lines
}

// clip is a line of at most width columns, without blanks at its end.
func clip(s string, width int) string {
	if r := []rune(s); len(r) > width {
		s = string(r[:width])
	}
	return strings.TrimRight(s, " ")
}
