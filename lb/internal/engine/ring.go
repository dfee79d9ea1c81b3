//go:build linux && (amd64 || arm64)

package engine

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What io_uring(7) names; golang.org/x/sys has the system calls only.
const (
	setupCQSize       = 1 << 3
	setupDisabled     = 1 << 6
	setupClamp        = 1 << 4
	setupSubmitAll    = 1 << 7  // 5.18
	setupSingleIssuer = 1 << 12 // 6.0
	setupDeferTaskrun = 1 << 13 // 6.1

	featSingleMmap   = 1 << 0
	featNoDrop       = 1 << 1
	featSubmitStable = 1 << 2
	featExtArg       = 1 << 8
	featCQESkip      = 1 << 11 // 5.17
	features         = featSingleMmap | featNoDrop | featSubmitStable | featExtArg | featCQESkip

	offRings = 0
	offSQEs  = 0x10000000

	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	sqCQOverflow = 1 << 1

	registerEnable   = 12
	registerPbufRing = 22

	opPollAdd = 6
	opSendmsg = 9
	opRecvmsg = 10
	opAccept  = 13
	opCancel  = 14
	opConnect = 16
	opSend    = 26
	opRecv    = 27

	sqeBufferSelect   = 1 << 5
	sqeCQESkipSuccess = 1 << 6

	acceptMultishot = 1 << 0
	recvMultishot   = 1 << 1

	cqeBuffer      = 1 << 0
	cqeMore        = 1 << 1
	cqeBufferShift = 16
)

type sqRingOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
	userAddr                                                        uint64
}

type cqRingOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
	userAddr                                                        uint64
}

type ringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	resv                                                                   [3]uint32
	sqOff                                                                  sqRingOffsets
	cqOff                                                                  cqRingOffsets
}

// sqe is struct io_uring_sqe.
type sqe struct {
	opcode      uint8
	flags       uint8
	ioprio      uint16
	fd          int32
	off         uint64
	addr        uint64
	len         uint32
	opFlags     uint32
	userData    uint64
	bufGroup    uint16
	personality uint16
	fileIndex   uint32
	addr3       uint64
	_           uint64
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// arena is what one submission may point to. It is read by the kernel before enter returns (IORING_FEAT_SUBMIT_STABLE),
// so it can be used again as soon as the submission's entry can.
type arena struct {
	msg  unix.Msghdr
	iov  [maxQueued]unix.Iovec
	addr [32]byte
}

// ring is an io_uring: two queues in memory shared with the kernel. It belongs to the thread that made it
// (IORING_SETUP_SINGLE_ISSUER), and nothing happens in it but while that thread is in enter (IORING_SETUP_DEFER_TASKRUN).
//
// The order of memory accesses is that of io_uring(7): an entry is written before the tail that publishes it (store
// release), a completion is read after the tail that published it (load acquire) and before the head that gives it back
// (store release). Go's atomic operations are at least that strong.
type ring struct {
	fd    int
	rings []byte
	sqMem []byte
	arMem []byte

	sqHead, sqTail, sqFlags *uint32
	sqMask                  uint32
	tail                    uint32 // ours; published by enter
	sqes                    []sqe
	arenas                  []arena

	cqHead, cqTail *uint32
	cqMask         uint32
	cqes           []cqe

	wait struct { // the argument of a sleeping enter; here, so that it is not allocated each time
		ts  unix.Timespec
		arg getEventsArg
	}
}

type getEventsArg struct {
	sigmask     uint64
	sigmaskSize uint32
	_           uint32
	ts          uint64
}

// newRing makes a ring. With more flags than none it may have other properties, such as setupDisabled.
func newRing(entries, completions int, flags uint32) (r *ring, err error) {
	p := ringParams{
		flags:     setupCQSize | setupClamp | setupSubmitAll | setupSingleIssuer | setupDeferTaskrun | flags,
		cqEntries: uint32(completions),
	}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r = &ring{fd: int(fd)}
	defer func() {
		if err != nil {
			r.close()
			r = nil
		}
	}()
	if p.features&features != features {
		return r, fmt.Errorf("io_uring features %#x, want %#x: %w", p.features, features, syscall.EOPNOTSUPP)
	}
	// With IORING_FEAT_SINGLE_MMAP both queues are in one mapping, as large as the larger needs.
	size := max(p.sqOff.array+4*p.sqEntries, p.cqOff.cqes+uint32(unsafe.Sizeof(cqe{}))*p.cqEntries)
	if r.rings, err = r.mmap(offRings, int(size)); err != nil {
		return r, err
	}
	if r.sqMem, err = r.mmap(offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{}))); err != nil {
		return r, err
	}
	r.arMem, err = unix.Mmap(-1, 0, int(p.sqEntries)*int(unsafe.Sizeof(arena{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return r, fmt.Errorf("map arenas: %w", err)
	}
	word := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[off])) }
	r.sqHead, r.sqTail, r.sqFlags = word(p.sqOff.head), word(p.sqOff.tail), word(p.sqOff.flags)
	r.sqMask = *word(p.sqOff.ringMask)
	r.cqHead, r.cqTail = word(p.cqOff.head), word(p.cqOff.tail)
	r.cqMask = *word(p.cqOff.ringMask)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.sqMem[0])), p.sqEntries)
	r.arenas = unsafe.Slice((*arena)(unsafe.Pointer(&r.arMem[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.rings[p.cqOff.cqes])), p.cqEntries)
	// The index array stays the identity: entries are filled in order.
	for i, array := uint32(0), unsafe.Slice(word(p.sqOff.array), p.sqEntries); i < p.sqEntries; i++ {
		array[i] = i
	}
	r.tail = atomic.LoadUint32(r.sqTail)
	return r, nil
}

// enable makes a ring that was made with setupDisabled this thread's.
func (r *ring) enable() error {
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerEnable, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("enable io_uring: %w", errno)
	}
	return nil
}

func (r *ring) mmap(off int64, size int) ([]byte, error) {
	m, err := unix.Mmap(r.fd, off, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map io_uring: %w", err)
	}
	return m, nil
}

func (r *ring) close() {
	for _, m := range [][]byte{r.rings, r.sqMem, r.arMem} {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
	closeFD(r.fd)
}

// next gives an empty submission entry, or nil if the kernel takes none now.
func (r *ring) next() (*sqe, *arena) {
	if r.tail-atomic.LoadUint32(r.sqHead) > r.sqMask {
		_ = r.enter(0, 0) // what it could not take is seen below
		if r.tail-atomic.LoadUint32(r.sqHead) > r.sqMask {
			return nil, nil
		}
	}
	i := r.tail & r.sqMask
	r.tail++
	e := &r.sqes[i]
	*e = sqe{}
	return e, &r.arenas[i]
}

// enter submits what is queued and, with enterGetEvents, lets the kernel post completions. It does not block.
func (r *ring) enter(flags, least uintptr) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), r.publish(), least, flags, 0, 0)
	return errno
}

// linger is enter that waits for a completion, for a moment and without the runtime's knowledge.
func (r *ring) linger(moment time.Duration) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), r.publish(), 1, enterGetEvents|enterExtArg, r.until(moment), unsafe.Sizeof(r.wait.arg))
	return errno
}

// sleep is enter that waits for a completion, at most for timeout; forever if it is negative.
func (r *ring) sleep(timeout time.Duration) syscall.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), r.publish(), 1, enterGetEvents|enterExtArg, r.until(timeout), unsafe.Sizeof(r.wait.arg))
	return errno
}

// until prepares the argument of an enter that waits.
func (r *ring) until(timeout time.Duration) uintptr {
	r.wait.arg = getEventsArg{}
	if timeout >= 0 {
		r.wait.ts = unix.NsecToTimespec(int64(timeout))
		r.wait.arg.ts = uint64(uintptr(unsafe.Pointer(&r.wait.ts)))
	}
	return uintptr(unsafe.Pointer(&r.wait.arg))
}

// publish makes the queued entries visible and says how many the kernel has not taken.
func (r *ring) publish() uintptr {
	atomic.StoreUint32(r.sqTail, r.tail)
	return uintptr(r.tail - atomic.LoadUint32(r.sqHead))
}

// submitted tells whether the kernel has taken every entry.
func (r *ring) submitted() bool { return r.tail == atomic.LoadUint32(r.sqHead) }

// pending is how many completions are there to be read.
func (r *ring) pending() int { return int(atomic.LoadUint32(r.cqTail) - *r.cqHead) }

// overflown tells whether the kernel holds completions back because the queue was full; it keeps their order and adds
// them at the next enter that gets events (IORING_FEAT_NODROP).
func (r *ring) overflown() bool { return atomic.LoadUint32(r.sqFlags)&sqCQOverflow != 0 }

// peek gives the n-th completion that is there; seen gives the first n back to the kernel.
func (r *ring) peek(n int) cqe { return r.cqes[(*r.cqHead+uint32(n))&r.cqMask] }

func (r *ring) seen(n int) { atomic.StoreUint32(r.cqHead, *r.cqHead+uint32(n)) }
