package limits

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluicemq/sluice/internal/unzeroed"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/open"
	"github.com/sluicemq/sluice/vfs"
)

// uploader stores durable batches a second time, several objects at a time. It makes objects of
// ObjectBytes out of batches without copying them, or of what has come within FlushInterval.
// Frames return to the pool when their last object is stored. That is what holds producers back
// when the store is slower.
type uploader struct {
	cfg     Config
	store   func(*object) error
	release func() error // ends what store uses; nil if there is nothing to end
	fail    func(error)
	objects chan *object
	working sync.WaitGroup
	stop    chan struct{} // ends the clock
	ticking sync.WaitGroup

	mu      sync.Mutex
	current *object
	count   int
}

type object struct {
	number int // counts in the order in which objects were cut
	body   bucket.Body
	bytes  int64
	frames []*frame
	held   int64 // memory of the frames, which may be much more than bytes
}

// uploadToBucket puts the objects into the configured bucket.
func uploadToBucket(ctx context.Context, cfg Config, fail func(error)) (*uploader, error) {
	b, err := open.Open(ctx, cfg.BucketURL, open.Options{Memory: true})
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	run := rand.Text()
	store := func(o *object) error {
		// What was acknowledged is uploaded, even at the end. Each attempt has its own deadline.
		return b.Create(context.Background(), fmt.Sprintf("limits/%s/%08d", run, o.number), o.body)
	}
	return newUploader(cfg, store, b.Close, fail), nil
}

// writeTwice makes each object a file of its own, on the disk that the ring is on. It writes past
// the page cache where it can, a piece at a time: new pages cost several times what the disk
// takes. One fdatasync at the end is the least that makes the file durable.
func writeTwice(cfg Config, fail func(error)) (*uploader, error) {
	dir := filepath.Join(cfg.Dir, "limits.objects")
	if err := os.RemoveAll(dir); err != nil { // left by a run that was killed
		return nil, fmt.Errorf("limits: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	store := func(o *object) error {
		f, err := vfs.OS().Create(filepath.Join(dir, fmt.Sprintf("%08d", o.number)))
		if err != nil {
			return err
		}
		piece := pieces.Get().(*[]byte)
		defer pieces.Put(piece)
		if err = writePieces(f, o, *piece); err == nil {
			err = f.Datasync()
		}
		return errors.Join(err, f.Close())
	}
	return newUploader(cfg, store, nil, fail), nil
}

// pieces are written from these. They begin at a page.
var pieces = sync.Pool{New: func() any { b := unzeroed.Make(1 << 20); return &b }}

func writePieces(f vfs.File, o *object, piece []byte) error {
	if err := f.Allocate(o.bytes); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	body := bucket.NewBodyReader(o.body)
	for pos := int64(0); pos < o.bytes; pos += int64(len(piece)) {
		n, err := io.ReadFull(body, piece[:min(int64(len(piece)), o.bytes-pos)])
		if err != nil {
			return err
		}
		whole := n / vfs.DirectAlign * vfs.DirectAlign
		if err := f.WriteDirect(piece[:whole], pos); errors.Is(err, errors.ErrUnsupported) {
			whole = 0
		} else if err != nil {
			return err
		}
		if _, err := f.WriteAt(piece[whole:n], pos+int64(whole)); err != nil {
			return err
		}
	}
	return nil
}

func newUploader(cfg Config, store func(*object) error, release func() error, fail func(error)) *uploader {
	u := &uploader{
		cfg: cfg, store: store, release: release, fail: fail, current: new(object), stop: make(chan struct{}),
		objects: make(chan *object, cfg.PendingBytes/cfg.ObjectBytes+1), // the frames run out first
	}
	for range cfg.Uploads {
		u.working.Go(u.upload)
	}
	u.ticking.Go(u.tick)
	return u
}

// add takes a durable request, together with its reference to the frame.
func (u *uploader) add(p *pending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	o := u.current
	o.frames = append(o.frames, p.frame)
	o.held += int64(cap(p.frame.b))
	for _, b := range p.vec { // each is one batch that has passed its CRC check
		o.body.CRC32C = protocol.ExtendCRC(o.body.CRC32C, b, protocol.WholeCRC(b))
		o.body.Parts = append(o.body.Parts, b)
		o.bytes += int64(len(b))
	}
	// Otherwise readers might wait for an object that nobody sends.
	if o.bytes >= u.cfg.ObjectBytes || o.held >= u.cfg.PendingBytes/4 {
		u.cutLocked()
	}
}

func (u *uploader) cutLocked() {
	if u.current.bytes == 0 {
		return
	}
	u.current.number = u.count
	u.count++
	u.objects <- u.current
	u.current = new(object)
}

func (u *uploader) tick() {
	ticker := time.NewTicker(u.cfg.FlushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			u.mu.Lock()
			u.cutLocked()
			u.mu.Unlock()
		case <-u.stop:
			return
		}
	}
}

func (u *uploader) upload() {
	for o := range u.objects {
		if err := u.store(o); err != nil {
			u.fail(fmt.Errorf("limits: store object %d: %w", o.number, err))
		}
		for _, f := range o.frames {
			f.release()
		}
	}
}

// close uploads the rest. Nothing may be added any more.
func (u *uploader) close() error {
	close(u.stop)
	u.ticking.Wait()
	u.mu.Lock()
	u.cutLocked()
	u.mu.Unlock()
	close(u.objects)
	u.working.Wait()
	if u.release == nil {
		return nil
	}
	if err := u.release(); err != nil {
		return fmt.Errorf("limits: close bucket: %w", err)
	}
	return nil
}
