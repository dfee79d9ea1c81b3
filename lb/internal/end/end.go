// Package end is the closed list of words that say why a session ended. Logs, metrics and tests use these words and no
// others, so that a script which matches one keeps working.
package end

// Word says why one session ended. The zero value means that it has not ended yet.
type Word uint8

// The words, in the order in which String knows them.
const (
	None             Word = iota
	ClientFIN             // the client finished first, and both directions were carried to their end
	ServerFIN             // the peer finished first, and both directions were carried to their end
	ClientReset           // the client aborted; the abort was passed on
	ServerReset           // the peer aborted; the abort was passed on
	ConnectTimeout        // the last connect attempt got no answer in time
	ConnectFailed         // the last connect attempt was refused or could not be made
	NoPeer                // the pool had no selectable peer
	QueueTimeout          // every peer was at its limit for queue_timeout
	Idle                  // nothing moved for idle_timeout
	HalfCloseTimeout      // one side had finished and the other moved nothing for half_close_timeout
	MaxAge                // it was as old as max_age allows
	FirstByteTimeout      // the peer sent nothing for first_byte_timeout after the connect
	PeerDead              // the peer's check went down
	RoleLost              // the peer is no longer what the pool wants
	PeerRemoved           // the peer left DNS or the config, and the pool closes such sessions
	Drained               // the peer left or was taken out, and the session was quiet, or drain_timeout ran out
	Shutdown              // ebb stopped, and shutdown_timeout ran out
	Limit                 // a limit on sessions refused it
	Denied                // the listener's access list refused its client
	PrereadTimeout        // the client's PROXY header, or its ClientHello, did not come within preread_timeout
	BadHeader             // what came instead of the client's PROXY header is none
	NoSourcePort          // this host had no free source port towards the peer; not the peer's fault
	AdminKilled           // somebody who operates ebb ended it
	Evicted               // a UDP flow made room for a newer one
	Complete              // a UDP flow has had all the datagrams that its mode grants
	Internal              // our own fault or this host's lack of resources
	count
)

var words = [count]string{
	"", "client_fin", "server_fin", "client_reset", "server_reset", "connect_timeout", "connect_failed", "no_peer", "queue_timeout",
	"idle", "half_close_timeout", "max_age", "first_byte_timeout", "peer_dead", "role_lost", "peer_removed", "drained", "shutdown", "limit", "denied",
	"preread_timeout", "bad_header",
	"no_source_port", "admin_killed", "evicted", "complete", "internal",
}

// Fences tells that what is still on its way to the peer must not reach it: it gets a reset.
func (w Word) Fences() bool { return w == PeerDead || w == RoleLost }

func (w Word) String() string { return words[w] }

// Count is the number of words, None included: the length of an array indexed by Word.
const Count = int(count)
