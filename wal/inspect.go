package wal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/sluicemq/sluice/ident"
	"github.com/sluicemq/sluice/vfs"
)

// InspectOptions says how Inspect prints.
type InspectOptions struct {
	JSON    bool // one JSON object a line instead of text
	Entries bool // also the entries of each group
}

// Inspect prints the segments, groups and entries of an incarnation and verifies all checksums. dir
// is the incarnation's own folder. Inspect writes nothing to disk. Damage is printed where it is
// found and returned as ErrCorrupt. A log that was not closed, with or without a torn group at its
// end, is not an error.
func Inspect(out io.Writer, disk vfs.FS, dir string, opts InspectOptions) error {
	n, ok := parseName(filepath.Base(dir), "")
	if !ok {
		return fmt.Errorf("inspect %s: not the folder of an incarnation, whose name is 16 hex digits", dir)
	}
	p := &printer{out: out, opts: opts}
	cfg, deps := Config{Dir: filepath.Dir(dir)}, RecoverDeps{FS: disk}
	s, err := openScanner(cfg, deps, ident.Incarnation(n), disk.OpenRead)
	if err != nil {
		return fmt.Errorf("inspect %s: %w", dir, err)
	}
	err = p.incarnation(s)
	return errors.Join(err, p.err, s.segs.close())
}

// printer prints lines until one of them cannot be written.
type printer struct {
	out  io.Writer
	opts InspectOptions
	err  error
}

// line is one thing that was found. Its fields are its JSON form.
type line struct {
	Type      string         `json:"type"` // segment, group, entry, end
	Position  ident.Position `json:"position"`
	File      string         `json:"file,omitempty"`
	Capacity  int64          `json:"capacity,omitempty"`
	End       ident.Position `json:"end,omitempty"`
	Previous  ident.Position `json:"previous,omitempty"`
	Durable   ident.Position `json:"durable,omitempty"`
	Bytes     int64          `json:"bytes,omitempty"`
	Entries   int            `json:"entries,omitempty"`
	Kind      string         `json:"kind,omitempty"`
	Topic     string         `json:"topic,omitempty"`
	Partition int32          `json:"partition,omitempty"`
	Epoch     ident.Epoch    `json:"epoch,omitempty"`
	Start     ident.Offset   `json:"start,omitempty"`
	Until     ident.Offset   `json:"until,omitempty"`
	CRC       uint32         `json:"crc32c,omitempty"`
	Arrived   int64          `json:"arrived,omitempty"` // milliseconds since 1970
	State     string         `json:"state,omitempty"`   // of Type end: sealed, open, torn, damaged
	Detail    string         `json:"detail,omitempty"`
}

func (p *printer) print(l *line, format string, args ...any) {
	if p.err != nil {
		return
	}
	if p.opts.JSON {
		p.err = json.NewEncoder(p.out).Encode(l)
		return
	}
	_, p.err = fmt.Fprintf(p.out, format+"\n", args...)
}

func (p *printer) incarnation(s *scanner) error {
	for _, seg := range s.segs.list {
		p.print(&line{Type: "segment", Position: s.segs.base(seg), File: filepath.Base(seg.path), Capacity: seg.capacity},
			"segment %s  positions from %d  capacity %d", filepath.Base(seg.path), s.segs.base(seg), seg.capacity)
	}
	s.onGroup = p.group
	stop, err := s.scanAll(p.entry)
	if err != nil {
		return err
	}
	return p.end(s, stop)
}

func (p *printer) group(h *groupHeader) {
	if h.sealed() {
		return
	}
	p.print(&line{Type: "group", Position: h.position, End: h.end(), Previous: h.previous, Durable: h.durable, Bytes: h.length, Entries: h.entryCount},
		"group %d..%d  previous %d  durable %d  bytes %d  entries %d", h.position, h.end(), h.previous, h.durable, h.length, h.entryCount)
}

func (p *printer) entry(e *Entry) error {
	if p.opts.Entries {
		p.print(&line{
			Type: "entry", Position: e.Position, Bytes: int64(len(e.Payload)), Kind: e.Kind.String(), Topic: e.Partition.Topic.String(),
			Partition: e.Partition.Index, Epoch: e.Epoch, Start: e.Start, Until: e.End, CRC: e.CRC, Arrived: e.Arrived,
		}, "  %s %d+%d  partition %s  epoch %d  offsets [%d,%d)  crc32c %08x%s", e.Kind, e.Position, len(e.Payload), e.Partition, e.Epoch, e.Start, e.End, e.CRC, arrivedText(e))
	}
	return p.err
}

func arrivedText(e *Entry) string {
	if e.Arrived == 0 {
		return ""
	}
	return "  arrived " + time.UnixMilli(e.Arrived).UTC().Format("2006-01-02T15:04:05.000Z")
}

// end prints how the log ends.
func (p *printer) end(s *scanner, stop *CorruptError) error {
	l := &line{Type: "end", Position: s.end, Durable: s.durable, State: "sealed"}
	var damage error
	if stop != nil {
		beyond, err := s.durableBeyond()
		if err != nil {
			return err
		}
		switch {
		case beyond > s.end:
			l.State, l.Durable, l.Detail, damage = "damaged", beyond, stop.Error(), stop
		case stop.What == "blank":
			l.State = "open"
		default:
			l.State, l.Detail = "torn", stop.Error()
		}
	}
	text := fmt.Sprintf("end %d  %s  proven durable below %d", l.Position, l.State, l.Durable)
	if l.Detail != "" {
		text += "  (" + l.Detail + ")"
	}
	p.print(l, "%s", text)
	return damage
}
