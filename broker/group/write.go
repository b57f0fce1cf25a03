package group

import "time"

// writeBytesMax is where the records of one change are cut into several writes. It is well below
// the batch size that storage accepts. A single record is never cut.
const writeBytesMax = 512 << 10

// change is one record on its way to the log, and what it does to the durable state once it is
// there.
type change struct {
	record Record
	group  *group
	slot   *slot   // the offset's slot; nil if the record is the group's metadata
	offset *offset // nil for a tombstone
}

// write is a Write for which Written has not been called.
type write struct {
	token   Token
	changes []change
	op      *operation
}

// operation is what one or several writes belong to. done runs after the last of them.
type operation struct {
	left int
	err  error // the first error
	done func(now time.Time, err error)
}

// write asks the shell to append changes. done runs when all of them are settled.
func (s *Shard) write(changes []change, done func(now time.Time, err error)) {
	op := &operation{done: done}
	for len(changes) > 0 {
		n := cut(changes)
		s.lastToken++
		w := write{token: s.lastToken, changes: changes[:n:n], op: op}
		records := make([]Record, n)
		for i, c := range w.changes {
			records[i] = c.record
			c.group.inFlight++
			if c.slot != nil {
				c.slot.inFlight++
			}
		}
		op.left++
		s.inFlight = append(s.inFlight, w)
		s.effects.Writes = append(s.effects.Writes, Write{Token: w.token, Records: records})
		changes = changes[n:]
	}
}

// cut returns how many of the changes go into the next write; at least one.
func cut(changes []change) int {
	bytes := 0
	for i, c := range changes {
		bytes += recordBytes(len(c.record.Key), len(c.record.Value))
		if i > 0 && bytes > writeBytesMax {
			return i
		}
	}
	return len(changes)
}

// Written reports that a write is durable and published (err is nil), or that it was refused and
// will never be (err, which is passed on to the waiters). It is called once per write, in the order
// of the writes.
func (s *Shard) Written(now time.Time, t Token, err error) Effects {
	if len(s.inFlight) == 0 || s.inFlight[0].token != t {
		panic("BUG: group: Written out of the order of the writes")
	}
	w := s.inFlight[0]
	s.inFlight[0] = write{}
	s.inFlight = s.inFlight[1:]
	for _, c := range w.changes {
		s.settle(c, err)
	}
	w.op.left--
	if w.op.err == nil {
		w.op.err = err
	}
	if w.op.left == 0 {
		w.op.done(now, w.op.err)
	}
	for _, c := range w.changes {
		s.maybeForget(c.group)
	}
	return s.take()
}

// settle makes the durable state what the log now says. It is the only place where the durable
// state of a served shard changes; nothing else is ever shown (I13).
func (s *Shard) settle(c change, err error) {
	c.group.inFlight--
	if c.slot == nil {
		if err == nil {
			s.store(c.group, c.record.Value)
			c.group.known = c.group.known || c.record.Value != nil
		}
		return
	}
	c.slot.inFlight--
	if err == nil {
		s.commit(c.group, c.slot, c.offset)
		c.group.known = c.group.known || c.offset != nil
	} else {
		s.charge(-c.offset.size())
	}
	c.group.maybeDrop(c.slot)
}

// InFlight returns the number of writes for which Written has not been called.
func (s *Shard) InFlight() int { return len(s.inFlight) }
