package limits

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/open"
)

// uploader puts durable batches into a bucket: objects of ObjectBytes made of the batches where they lie, or of
// what has come within FlushInterval, several at a time. Frames return to the pool when their last object is stored,
// which is what holds producers back when the bucket is slower.
type uploader struct {
	cfg     Config
	bucket  *bucket.Retrying
	run     string // begins the keys of this run
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
	key    string
	body   bucket.Body
	bytes  int64
	frames []*frame
	held   int64 // memory of the frames, which may be far more than bytes
}

func newUploader(ctx context.Context, cfg Config, fail func(error)) (*uploader, error) {
	b, err := open.Open(ctx, cfg.BucketURL, open.Options{Memory: true})
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	u := &uploader{
		cfg: cfg, bucket: b, run: rand.Text(), fail: fail, current: new(object), stop: make(chan struct{}),
		objects: make(chan *object, cfg.PendingBytes/cfg.ObjectBytes+1), // frames run out first
	}
	for range cfg.Uploads {
		u.working.Go(u.upload)
	}
	u.ticking.Go(u.tick)
	return u, nil
}

// add takes a durable request with its reference to the frame.
func (u *uploader) add(p *pending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	o := u.current
	o.frames = append(o.frames, p.frame)
	o.held += int64(cap(p.frame.b))
	for _, b := range p.vec { // each is one batch that has passed its CRC
		o.body.CRC32C = protocol.ExtendCRC(o.body.CRC32C, b, protocol.WholeCRC(b))
		o.body.Parts = append(o.body.Parts, b)
		o.bytes += int64(len(b))
	}
	if o.bytes >= u.cfg.ObjectBytes || o.held >= u.cfg.PendingBytes/4 { // else readers might wait for what nobody sends
		u.cutLocked()
	}
}

func (u *uploader) cutLocked() {
	if u.current.bytes == 0 {
		return
	}
	u.current.key = fmt.Sprintf("limits/%s/%08d", u.run, u.count)
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
		// What was acknowledged is uploaded, also at the end: each try has its own deadline.
		if err := u.bucket.Create(context.Background(), o.key, o.body); err != nil {
			u.fail(fmt.Errorf("limits: upload: %w", err))
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
	if err := u.bucket.Close(); err != nil {
		return errors.Join(errors.New("limits: close bucket"), err)
	}
	return nil
}
