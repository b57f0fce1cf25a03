package storage

// HeldByPlan plans a pass over everything and gives the plan up again. It returns how many bytes of
// batches the plan keeps in memory, how many it plans, and how many the building of its bundles
// takes from the hot tail.
func (e *Engine) HeldByPlan() (held, planned, fetched int64) {
	plan := e.flusher.plan(e.partitions.all())
	defer release(plan.chosen)
	count := func(s *section) (n int64) {
		for i := range s.batches {
			n += int64(len(s.batches[i].bytes))
		}
		return n
	}
	for _, b := range plan.bundles {
		for _, s := range b.sections {
			held += count(s)
			planned += s.bytes
			s.fetch()
			fetched += count(s)
			s.letGo()
			held += count(s)
		}
	}
	return held, planned, fetched
}
