package saf

// Where the router puts what it passes in. It asks for memory through cabi_realloc, and there no import may be called: so
// neither may the collector run, which reads the clock. Memory comes from an arena that is made before it is needed, and grows
// between calls; only an event larger than all before it is put beside it, with the clock stopped.

import "unsafe"

const (
	// The adapter between WASI 0.1 and 0.2 asks for its state, 64 KiB on a border of as much.
	adapterBytes = 192 << 10
	// What an instance keeps for events; most are smaller by far.
	firstArenaBytes = 64 << 10
	// A larger event is put beside the arena each time, and its memory is given back.
	maxArenaBytes = 4 << 20
)

var (
	adapters     [adapterBytes]byte
	adaptersUsed uintptr
	arena        []byte
	used         uintptr
	wanted       uintptr
	beside       [][]byte
)

func init() { arena = make([]byte, firstArenaBytes) }

//go:wasmimport wasi_snapshot_preview1 adapter_monotonic_clock_set_paused
func pauseClock(paused uint32)

//go:wasmexport cabi_realloc
func cabiRealloc(old, oldSize, align, size uint32) uint32 {
	at := place(uintptr(align), uintptr(size))
	if old != 0 {
		copy(view(at, min(oldSize, size)), view(old, min(oldSize, size)))
	}
	return at
}

// The adapter keeps what it asks for, and it asks before Go's runtime has started.
//
//go:wasmexport cabi_realloc_adapter
func cabiReallocAdapter(old, oldSize, align, size uint32) uint32 {
	at, next := aligned(adapters[:], adaptersUsed, uintptr(align), uintptr(size))
	if next > adapterBytes {
		panic("saf: what the adapter asks for does not fit; raise adapterBytes")
	}
	adaptersUsed = next
	if old != 0 {
		copy(view(at, min(oldSize, size)), view(old, min(oldSize, size)))
	}
	return at
}

func place(align, size uintptr) uint32 {
	wanted += size + align
	at, next := aligned(arena, used, align, size)
	if next <= uintptr(len(arena)) {
		used = next
		return at
	}
	pauseClock(1)
	more := make([]byte, size+align)
	beside = append(beside, more)
	pauseClock(0)
	at, _ = aligned(more, 0, align, size)
	return at
}

// aligned is the address of the next size bytes behind the used ones of b, and where they end in it.
func aligned(b []byte, used, align, size uintptr) (address uint32, next uintptr) {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	at := (base + used + align - 1) &^ (align - 1)
	return uint32(at), at - base + size
}

// block is what the router passed in for one call, and from now on the Channel's: the arena's part of it copied at once, what
// is beside the arena as it is.
type block struct {
	from   uint32
	copied []byte
	beside [][]byte
}

// takeArena empties the arena for the next call, and makes it larger when this one did not fit.
func takeArena() block {
	taken := block{address(arena), append([]byte(nil), arena[:used]...), beside}
	if wanted > uintptr(len(arena)) && len(arena) < maxArenaBytes {
		arena = make([]byte, min(2*wanted, maxArenaBytes))
	}
	used, wanted, beside = 0, 0, nil
	return taken
}

// bytes are those at an address that the router was given; the caller's alone.
func (b block) bytes(at, size uint32) []byte {
	if size == 0 {
		return nil
	}
	if offset := at - b.from; at >= b.from && int(offset) < len(b.copied) {
		return b.copied[offset : offset+size : offset+size]
	}
	for _, more := range b.beside {
		if from := address(more); at >= from && int(at-from) < len(more) {
			return more[at-from : at-from+size : at-from+size]
		}
	}
	panic("saf: the router passed an address that it was not given")
}

func (b block) text(at, size uint32) string {
	bytes := b.bytes(at, size)
	return unsafe.String(unsafe.SliceData(bytes), len(bytes))
}

func view(at, size uint32) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(at))), size) }
