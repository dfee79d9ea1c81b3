package config

import (
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Socket is what the sockets of both sides may be asked for.
type Socket struct {
	NoDelay           bool          `key:"nodelay"`
	KeepaliveIdle     time.Duration // 0 is no keepalive
	KeepaliveInterval time.Duration
	KeepaliveCount    int
	UserTimeout       time.Duration // 0 is the kernel's choice
	Congestion        string        // "" is the kernel's choice
	SendBuffer        int           // bytes; 0 is the kernel's choice
	ReceiveBuffer     int
	Mark              int    // 0 is none
	Interface         string // "" is any
	Freebind          bool
	Transparent       bool
}

// ClientSocket is what a listener's sockets are asked for, and those of its clients.
type ClientSocket struct {
	Socket
	DeferAccept time.Duration // 0 is off
	FastOpen    int           // 0 is off
	V6Only      bool          `key:"v6only"`
	ReusePort   bool

	// Of unix sockets.
	Mode  fs.FileMode
	Group int // an id; -1 is that of the process
}

// PeerSocket is what sockets to the peers of a pool are asked for.
type PeerSocket struct {
	Socket
	Source      []netip.Addr // at most 8 of each family
	FromClient  bool         `key:"source"` // instead
	SourcePorts [2]uint16    // the first and the last; 0 is the kernel's choice
}

// DefaultSocket is one for which nothing was set.
func DefaultSocket() Socket { return unset.Pools[0].Socket.Socket }

// Binds tells whether a key of a ClientSocket is settled for an endpoint of a network when that is bound.
func (e Endpoint) Binds(key string) bool {
	path := key == "mode" || key == "group"
	switch e.Network {
	case "tcp":
		return slices.Contains([]string{"interface", "freebind", "transparent", "v6only", "reuse_port"}, key)
	case "unix":
		return path
	}
	return !path
}

const maxBuffer = 1 << 30 // bytes

// socketKeys are those of both sides.
var socketKeys = []key[Socket]{
	{name: "nodelay", read: func(s *Socket, v value) { v.bool(&s.NoDelay) }},
	{name: "keepalive_idle", read: func(s *Socket, v value) { v.seconds(&s.KeepaliveIdle, 32767, "off") }},
	{name: "keepalive_interval", read: func(s *Socket, v value) { v.seconds(&s.KeepaliveInterval, 32767, "") }},
	{name: "keepalive_count", read: func(s *Socket, v value) { v.int(&s.KeepaliveCount, 1, 127, "") }},
	{name: "user_timeout", read: func(s *Socket, v value) { v.duration(&s.UserTimeout, time.Millisecond, "off") }},
	{name: "congestion", read: readCongestion},
	{name: "send_buffer", read: func(s *Socket, v value) { v.int(&s.SendBuffer, 4096, maxBuffer, "auto") }},
	{name: "receive_buffer", read: func(s *Socket, v value) { v.int(&s.ReceiveBuffer, 4096, maxBuffer, "auto") }},
	{name: "mark", read: func(s *Socket, v value) { v.int(&s.Mark, 1, 1<<32-1, "off") }},
	{name: "interface", read: readInterface},
	{name: "freebind", read: func(s *Socket, v value) { v.bool(&s.Freebind) }},
	{name: "transparent", read: func(s *Socket, v value) { v.bool(&s.Transparent) }},
}

var clientSocketKeys = append(shared(func(s *ClientSocket) *Socket { return &s.Socket }), []key[ClientSocket]{
	{name: "defer_accept", read: func(s *ClientSocket, v value) { v.seconds(&s.DeferAccept, 3600, "off") }},
	{name: "fast_open", read: func(s *ClientSocket, v value) { v.int(&s.FastOpen, 1, 65535, "off") }},
	{name: "v6only", read: func(s *ClientSocket, v value) { v.bool(&s.V6Only) }},
	{name: "reuse_port", read: func(s *ClientSocket, v value) { v.bool(&s.ReusePort) }},
	{name: "mode", read: func(s *ClientSocket, v value) { v.mode(&s.Mode) }},
	{name: "group", read: func(s *ClientSocket, v value) { v.group(&s.Group) }},
}...)

var peerSocketKeys = append(shared(func(s *PeerSocket) *Socket { return &s.Socket }), []key[PeerSocket]{
	{name: "source", read: readSource},
	{name: "source_ports", read: readSourcePorts},
}...)

// shared makes the keys of both sides those of one.
func shared[T any](part func(*T) *Socket) (keys []key[T]) {
	for _, k := range socketKeys {
		keys = append(keys, key[T]{name: k.name, read: func(side *T, v value) { k.read(part(side), v) }})
	}
	return keys
}

// seconds reads a duration that the kernel takes in whole seconds, from one to most.
func (v value) seconds(dst *time.Duration, most int, word string) {
	d := *dst
	before := len(v.src.problems)
	v.duration(&d, 0, word)
	if len(v.src.problems) > before {
		return
	}
	if s, _ := v.raw.(string); s != word && (d%time.Second != 0 || d < time.Second || d > time.Duration(most)*time.Second) {
		v.unexpected("whole seconds, from 1s to %ds%s", most, or(word))
		return
	}
	*dst = d
}

func readCongestion(s *Socket, v value) {
	const expected = "the name of a congestion control of the kernel, such as \"bbr\", or \"auto\""
	switch name, ok := v.text(expected); {
	case !ok:
	case name == "auto":
		s.Congestion = ""
	case !isName(name) || len(name) > 15:
		v.unexpected(expected)
	default:
		s.Congestion = name
	}
}

func readInterface(s *Socket, v value) {
	const expected = "the name of an interface or VRF, of at most 15 bytes, or \"any\""
	switch name, ok := v.text(expected); {
	case !ok:
	case name == "any":
		s.Interface = ""
	case name == "" || len(name) > 15 || strings.ContainsAny(name, "/ \t\n\x00") || name == "." || name == "..": // as the kernel has it (dev_valid_name)
		v.unexpected(expected)
	default:
		s.Interface = name
	}
}

// readSource reads where connections to peers come from.
func readSource(s *PeerSocket, v value) {
	const expected = "\"auto\", \"client\" or an address"
	if word, _ := v.raw.(string); word == "auto" || word == "client" {
		s.Source, s.FromClient = nil, word == "client"
		return
	}
	var list []netip.Addr
	for _, e := range v.texts(expected) {
		a, err := netip.ParseAddr(e.raw.(string))
		a = a.Unmap()
		switch {
		case err != nil || a.IsMulticast() || a.IsUnspecified():
			e.unexpected(expected)
		case slices.Contains(list, a):
			e.fail("found %s twice, expected each address once", e.found())
		case ofFamily(list, a) == maxSources:
			e.fail("found %s, expected at most %d addresses of each family", e.found(), maxSources)
		default:
			list = append(list, a)
		}
	}
	if l, ok := v.raw.([]value); ok && len(l) == 0 {
		v.fail("found an empty list, expected %s", expected)
	}
	s.Source, s.FromClient = list, false
}

// maxSources is how many addresses of one family connections may come from.
const maxSources = 8

func ofFamily(list []netip.Addr, like netip.Addr) (n int) {
	for _, a := range list {
		if a.Is4() == like.Is4() {
			n++
		}
	}
	return n
}

func readSourcePorts(s *PeerSocket, v value) {
	const expected = "\"auto\", or a range of ports such as \"20000-29999\""
	text, ok := v.text(expected)
	if !ok {
		return
	}
	if text == "auto" {
		s.SourcePorts = [2]uint16{}
		return
	}
	low, high, _ := strings.Cut(text, "-")
	first, err1 := strconv.ParseUint(low, 10, 16)
	last, err2 := strconv.ParseUint(high, 10, 16)
	if err1 != nil || err2 != nil || first == 0 || last < first {
		v.unexpected(expected)
		return
	}
	s.SourcePorts = [2]uint16{uint16(first), uint16(last)}
}

// readSocket reads the table of one side, of which both sides have a part.
func readSocket[T any](v value, keys []key[T], s *T, both *Socket) {
	if readTable(v, keys, s) {
		checkKeepalive(v, both)
	}
}

// checkKeepalive refuses what there is no use for.
func checkKeepalive(v value, s *Socket) {
	usual := DefaultSocket()
	if s.KeepaliveIdle == 0 && v.sound("keepalive_idle") && (s.KeepaliveInterval != usual.KeepaliveInterval || s.KeepaliveCount != usual.KeepaliveCount) {
		v.written("keepalive_interval", "keepalive_count").fail("found with keepalive_idle \"off\", which has no use for it, expected a duration there")
	}
}

// checkSocketNetworks refuses on a listener what only other networks have, and without an IPv6 wildcard what is for that.
func checkSocketNetworks(v value, l *Listener) {
	if len(l.Listen) == 0 || !v.has("socket") {
		return
	}
	t := v.written("socket")
	has := func(networks ...string) bool {
		return slices.ContainsFunc(l.Listen, func(e Endpoint) bool { return slices.Contains(networks, e.Network) })
	}
	if usual := &unset.Listeners[0].Socket; (l.Socket.Mode != usual.Mode || l.Socket.Group != usual.Group) && !has("unix") {
		t.written("mode", "group").fail("found on a listener without a path, expected an address such as \"unix:/run/ebb/%s.sock\"", l.Name)
	}
	for _, name := range []string{"send_buffer", "receive_buffer", "mark", "interface", "freebind", "transparent", "reuse_port"} {
		if t.has(name) && !has("tcp", "udp") {
			t.written(name).fail("found on a listener that is a path, expected TCP or UDP")
		}
	}
	if !has("tcp") {
		for _, name := range []string{"nodelay", "keepalive_idle", "keepalive_interval", "keepalive_count", "user_timeout", "congestion", "defer_accept", "fast_open"} {
			if t.has(name) {
				t.written(name).fail("found on a listener without TCP, expected an address of that: nothing else has %s", name)
			}
		}
	}
	wild := func(e Endpoint) bool { return e.Addr.Addr() == netip.IPv6Unspecified() }
	if l.Socket.V6Only && !slices.ContainsFunc(l.Listen, wild) {
		t.written("v6only").fail("found without an address that is all of IPv6, expected one such as \"tcp://[::]:%d\"", max(1, l.Listen[0].Addr.Port()))
	}
}
