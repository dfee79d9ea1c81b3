package admin

import (
	"encoding/json"
	"sync"
	"time"
)

// Event is something that happened: an element of /v1/events.
type Event struct {
	ID    uint64         `json:"id"` // grows, also from one run to the next
	Time  time.Time      `json:"time"`
	Kind  string         `json:"kind"`
	Level string         `json:"level"` // debug, info, warn, error
	Attrs map[string]any `json:"attrs"` // as in the log line
}

// eventsKept is how many events are remembered.
const eventsKept = 1024

// Events remembers what happened last. Whoever adds to it never waits: readers keep a place of their own and read from
// there, and one that is too slow has missed what is no longer remembered.
type Events struct {
	mu    sync.Mutex
	first uint64 // id of the first that ever was
	next  uint64 // id of the next
	ring  [eventsKept]Event
	wake  chan struct{} // closed when there is another; nil while nobody waits
}

// data is the event as it is sent.
func (ev Event) data() []byte {
	data, err := json.Marshal(ev)
	if err != nil { // a value that JSON does not have, such as an infinite number
		ev.Attrs = map[string]any{"error": err.Error()}
		data, _ = json.Marshal(ev)
	}
	return data
}

// NewEvents makes an empty memory. Its ids begin with the time, so that they go on after a restart.
func NewEvents() *Events {
	id := uint64(time.Now().UnixMilli())
	return &Events{first: id, next: id}
}

// Add appends an event. It gives it its id. Its attributes are not to change any more: they are encoded for who reads them.
func (e *Events) Add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ev.ID = e.next
	e.ring[e.next%eventsKept] = ev
	e.next++
	if e.wake != nil {
		close(e.wake)
		e.wake = nil
	}
}

// after gives the events with an id above the one given, at most as many as are sent at once, the id of the first of
// them, and how many between were forgotten. If there is none, more is closed when there is.
func (e *Events) after(id uint64) (list []Event, from uint64, missed uint64, more <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	from = max(id+1, e.first)
	if oldest := e.next - min(e.next-e.first, eventsKept); from < oldest {
		if id >= e.first { // else its last event is of another run, of which nothing is known
			missed = oldest - from
		}
		from = oldest
	}
	for at := from; at < e.next && len(list) < eventsAtOnce; at++ {
		list = append(list, e.ring[at%eventsKept])
	}
	if len(list) == 0 {
		if e.wake == nil {
			e.wake = make(chan struct{})
		}
		more = e.wake
	}
	return list, from, missed, more
}
