package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
)

// Capabilities are what a store was seen to do, as opposed to what it claims.
type Capabilities struct {
	// A second Create of a key is refused; else only unique ids keep objects apart (I3).
	ConditionalCreate bool
	RangedRead        bool // the asked-for bytes come, and only these
	// A body that does not match its CRC32C is refused; else damage shows on reading.
	ChecksumRefused bool
	// A listing shows what was just created; tools and restore need it, the log does not.
	ListAfterWrite bool
}

// String returns one line for the log.
func (c Capabilities) String() string {
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "NO"
	}
	return fmt.Sprintf("conditional create: %s, ranged read: %s, wrong checksum refused: %s, list after write: %s",
		yes(c.ConditionalCreate), yes(c.RangedRead), yes(c.ChecksumRefused), yes(c.ListAfterWrite))
}

// Probe tries out what the store really does, with small objects under <prefix>probe/<directory
// UUID>-<random>. It deletes them again, together with what an earlier probe of the same directory
// left. An error means that the store could not be asked, or does not give back what was put. The
// capabilities are then not to be trusted.
func Probe(ctx context.Context, b Bucket, prefix, dirUUID string) (Capabilities, error) {
	p := probe{b: b, own: prefix + "probe/" + dirUUID}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return Capabilities{}, fmt.Errorf("bucket: probe: %w", err)
	}
	p.key = p.own + "-" + hex.EncodeToString(random[:])
	caps, err := p.run(ctx)
	if err = errors.Join(err, p.clean(ctx)); err != nil {
		return Capabilities{}, fmt.Errorf("bucket: probe: %w", err)
	}
	return caps, nil
}

type probe struct {
	b        Bucket
	own, key string
}

var probeBytes = []byte("sluice probe: this object may be deleted")

func (p *probe) run(ctx context.Context) (caps Capabilities, err error) {
	if err := p.b.Create(ctx, p.key, NewBody(probeBytes)); err != nil {
		return caps, err
	}
	for _, step := range []struct {
		result *bool
		ask    func(context.Context) (bool, error)
	}{
		{&caps.RangedRead, p.rangedRead},
		{&caps.ListAfterWrite, p.listed},
		// After the reads, since it may replace the object.
		{&caps.ConditionalCreate, p.conditional},
		{&caps.ChecksumRefused, p.checksum},
	} {
		if *step.result, err = step.ask(ctx); err != nil {
			return caps, err
		}
	}
	return caps, nil
}

func (p *probe) rangedRead(ctx context.Context) (bool, error) {
	whole := make([]byte, len(probeBytes))
	if err := p.b.ReadAt(ctx, p.key, whole, 0); err != nil {
		return false, err
	}
	if !bytes.Equal(whole, probeBytes) {
		return false, fmt.Errorf("read %s: %w: other bytes than were just stored", p.key, ErrCorrupt)
	}
	part := make([]byte, 5)
	err := p.b.ReadAt(ctx, p.key, part, 7)
	if errors.Is(err, ErrDenied) {
		return false, nil
	}
	return err == nil && bytes.Equal(part, probeBytes[7:12]), err
}

func (p *probe) listed(ctx context.Context) (bool, error) {
	for info, err := range p.b.List(ctx, p.own, "") {
		if err != nil {
			return false, err
		}
		if info.Key == p.key {
			return info.Bytes == int64(len(probeBytes)), nil
		}
	}
	return false, nil
}

func (p *probe) conditional(ctx context.Context) (bool, error) {
	err := p.b.Create(ctx, p.key, NewBody(probeBytes))
	if errors.Is(err, ErrExists) {
		return true, nil
	}
	return false, err
}

func (p *probe) checksum(ctx context.Context) (bool, error) {
	body := NewBody(probeBytes)
	body.CRC32C ^= 1
	err := p.b.Create(ctx, p.key+"-bad", body)
	if errors.Is(err, ErrCorrupt) {
		return true, nil
	}
	return false, err
}

// clean deletes this directory's probe objects, of this probe and of earlier ones.
func (p *probe) clean(ctx context.Context) error {
	keys := []string{p.key, p.key + "-bad"} // whether the listing shows them or not
	for info, err := range p.b.List(ctx, p.own+"-", "") {
		if err != nil {
			return err
		}
		keys = append(keys, info.Key)
	}
	for _, key := range keys {
		if err := p.b.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
