package group

import "time"

// Expire removes offsets past their retention, offsets of topics that no longer exist, and groups
// that have neither members nor offsets. It is to be called every
// offsets.retention.check.interval.ms, and may be called when topics are deleted. topics must know
// every topic that exists; if topics is nil, only time counts.
func (s *Shard) Expire(now time.Time, topics Topics) Effects {
	for _, g := range s.sorted() {
		s.expireGroup(g, now.UnixMilli(), topics)
	}
	return s.take()
}

func (s *Shard) expireGroup(g *group, now int64, topics Topics) {
	subscribed := g.subscription()
	var changes []change
	kept := 0
	for _, sl := range g.slots() {
		switch {
		case sl.inFlight > 0: // just committed, or just deleted
			kept++
		case sl.committed.gone(sl.partition.Topic, topics), g.expired(sl, now, subscribed):
			changes = append(changes, g.offsetChange(sl.partition, nil))
		default:
			kept++
		}
	}
	done := func(error) {} // if the write is refused, the next round tries again
	switch {
	case len(g.offsets) == 0 && g.stored == nil && g.vacant() && g.inFlight == 0:
		g.known = false // nothing of the group is in the log
		s.maybeForget(g)
	case kept == 0 && g.vacant() && g.inFlight == 0:
		s.erase(g, changes, done)
	case len(changes) > 0:
		s.write(changes, func(_ time.Time, err error) { done(err) })
	}
}

// expired applies Kafka's rules for the end of an offset's retention (KIP-211). It counts from the
// loss of the last member if the group has no members, and from the commit for a simple group and
// for a topic to which a stable group no longer subscribes. An expiry that came with the commit
// takes precedence over the broker's retention.
func (g *group) expired(sl *slot, now int64, subscribed subscription) bool {
	if subscribed.holds(sl.partition.Topic) {
		return false
	}
	o := sl.committed
	since := o.commit
	switch {
	case g.protocolType == "":
	case g.state == Empty:
		if g.since >= 0 {
			since = g.since
		}
	case g.state != Stable || g.protocolType != consumerProtocol || !subscribed.known:
		return false
	}
	if o.expire >= 0 {
		return now >= o.expire
	}
	return now-since >= g.shard.cfg.OffsetsRetention.Milliseconds()
}
