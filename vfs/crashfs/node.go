package crashfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// node is a file or a folder. It holds both what programs see and what a power cut would leave.
type node struct {
	names   map[string]*node // of a folder, as programs see it; nil for a file
	durable map[string]*node // of a folder, as the last SyncDir saw it

	path  string             // the file's newest name, for the history of calls
	cache []byte             // the file's bytes as programs see them
	disk  []byte             // the file's bytes as the last sync left them
	dirty map[int64]struct{} // pages that the next sync will write
}

func newDir() *node {
	return &node{names: make(map[string]*node), durable: make(map[string]*node)}
}

func newFile() *node { return &node{dirty: make(map[int64]struct{})} }

func (n *node) isDir() bool { return n.names != nil }

// empty removes everything below a folder, without SyncDir.
func (n *node) empty() {
	for name, child := range n.names {
		child.empty()
		delete(n.names, name)
	}
}

func (n *node) write(p []byte, pos int64) {
	if len(p) == 0 {
		return
	}
	end := pos + int64(len(p))
	if end > int64(len(n.cache)) {
		n.resize(end)
	}
	copy(n.cache[pos:], p)
	n.touch(pos, end)
}

func (n *node) touch(pos, end int64) {
	for page := pos / pageBytes; page*pageBytes < end; page++ {
		n.dirty[page] = struct{}{}
	}
}

// resize cuts the file, or grows it with zeros.
func (n *node) resize(size int64) {
	old := int64(len(n.cache))
	if size <= old {
		n.cache = slices.Clone(n.cache[:size])
		return
	}
	n.cache = append(n.cache, make([]byte, size-old)...)
	n.touch(old, size)
}

// sync makes the dirty pages and the size durable. A page that an earlier, failed sync marked clean
// is not written.
func (n *node) sync() {
	n.disk = resized(n.disk, len(n.cache))
	for page := range n.dirty {
		from := page * pageBytes
		if from < int64(len(n.cache)) {
			to := min(from+pageBytes, int64(len(n.cache)))
			copy(n.disk[from:to], n.cache[from:to])
		}
	}
	clear(n.dirty)
}

func resized(p []byte, size int) []byte {
	if size <= len(p) {
		return p[:size:size]
	}
	return append(p[:len(p):len(p)], make([]byte, size-len(p))...)
}

// cloneTree copies a tree. A file with two names stays one file.
func cloneTree(n *node, seen map[*node]*node) *node {
	if c := seen[n]; c != nil {
		return c
	}
	c := &node{path: n.path, cache: slices.Clone(n.cache), disk: slices.Clone(n.disk), dirty: maps.Clone(n.dirty)}
	seen[n] = c
	if n.isDir() {
		c.names, c.durable = make(map[string]*node), make(map[string]*node)
		for name, child := range n.names {
			c.names[name] = cloneTree(child, seen)
		}
		for name, child := range n.durable {
			c.durable[name] = cloneTree(child, seen)
		}
	}
	return c
}

// cut turns a tree into what a power cut leaves of it.
func cut(n *node, rng *rand.Rand, seen map[*node]bool) *node {
	if seen[n] {
		return n
	}
	seen[n] = true
	if !n.isDir() {
		n.cutFile(rng)
		return n
	}
	n.cutNames(rng)
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		cut(n.names[name], rng, seen)
	}
	return n
}

// cutNames decides, for each name that changed since SyncDir, whether the change survives.
func (n *node) cutNames(rng *rand.Rand) {
	all := maps.Clone(n.names)
	maps.Copy(all, n.durable)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		now, then := n.names[name], n.durable[name]
		if now == then || rng.IntN(2) == 0 {
			continue
		}
		if then == nil {
			delete(n.names, name)
		} else {
			n.names[name] = then
		}
	}
	n.durable = maps.Clone(n.names)
}

// cutFile decides what the disk holds for each dirty page, and for the sectors of some pages.
func (n *node) cutFile(rng *rand.Rand) {
	after := slices.Clone(n.disk)
	if rng.IntN(2) == 0 { // the new size reached the disk
		after = resized(after, len(n.cache))
	}
	for _, page := range slices.Sorted(maps.Keys(n.dirty)) {
		from := page * pageBytes
		to := min(from+pageBytes, int64(len(n.cache)), int64(len(after)))
		if from >= to {
			continue
		}
		switch rng.IntN(4) {
		case 0: // the page is lost
		case 1: // the page is whole
			copy(after[from:to], n.cache[from:to])
		default:
			tear(after[from:to], n.cache[from:to], rng)
		}
	}
	n.cache, n.disk = after, slices.Clone(after)
	clear(n.dirty)
}

// tear decides sector by sector whether the old bytes, the new bytes or garbage survive.
func tear(after, cache []byte, rng *rand.Rand) {
	for from := 0; from < len(after); from += sectorBytes {
		to := min(from+sectorBytes, len(after))
		switch rng.IntN(5) {
		case 0, 1:
		case 2, 3:
			copy(after[from:to], cache[from:to])
		default:
			for i := from; i < to; i++ {
				after[i] = byte(rng.Uint32())
			}
		}
	}
}
