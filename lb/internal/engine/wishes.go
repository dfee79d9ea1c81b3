//go:build linux && (amd64 || arm64)

package engine

// wishes is what the engines have in common: what the caller wants of each socket is noted here, and each engine's turn
// carries it out in its own way.
type wishes struct {
	table
	*buffers
	bulk  pipes
	wake  waker
	stats Stats
}

func (w *wishes) Stats() *Stats { return &w.stats }
func (w *wishes) Wake()         { w.wake.wake() }

func (w *wishes) Attach(fd int, owner uint32) Socket { return w.attach(fd, owner) }
func (w *wishes) Accept(s Socket)                    { w.want(s, wantAccept|listens, 0) }
func (w *wishes) Receive(s Socket)                   { w.want(s, wantReceive, 0) }
func (w *wishes) Watch(s Socket)                     { w.want(s, wantLeft, 0) }
func (w *wishes) Await(s Socket)                     { w.want(s, wantReady, 0) }
func (w *wishes) Unwatch(s Socket)                   { w.want(s, 0, wantLeft) }
func (w *wishes) Pause(s Socket)                     { w.want(s, 0, wantReceive|wantAccept) }
func (w *wishes) Queued(s Socket) int                { return w.queued(s) }
func (w *wishes) Carry(from, to Socket)              { w.join(from, to) }
func (w *wishes) Room() int                          { return w.room() }
func (w *wishes) Release(b Buffer)                   { w.put(b) }
func (w *wishes) Shutdown(s Socket)                  { shutdownFD(w.at(s).fd) }

func (w *wishes) Send(s Socket, b Buffer, n int) {
	r := w.at(s)
	r.out.push(w.buffers, b, n)
	w.mark(s, r)
}

func (w *wishes) Close(s Socket, rst bool) {
	set := wantClose
	if rst {
		set |= abort
	}
	w.want(s, set, wantReceive|wantAccept)
}
