package group

import "time"

// rebalanceOrComplete starts a rebalance, or ends the join phase if all members have joined.
func (g *group) rebalanceOrComplete(now time.Time) {
	if g.state == PreparingRebalance {
		g.maybeCompleteJoin(now)
		return
	}
	g.prepareRebalance(now)
}

// prepareRebalance asks all members to join again.
func (g *group) prepareRebalance(now time.Time) {
	if g.state == CompletingRebalance {
		g.refuseSyncs(now, ErrRebalanceInProgress)
	}
	for _, m := range g.members {
		g.settleSync(m)
	}
	g.shard.timers.stop(&g.syncTimer)
	initial := g.state == Empty
	g.enter(now, PreparingRebalance)
	if initial {
		g.newMember = false
		delay := g.shard.cfg.InitialRebalanceDelay
		g.delayInitial(now, delay, max(g.rebalanceTimeout()-delay, 0))
		return
	}
	if g.allJoined() {
		g.completeJoin(now)
		return
	}
	g.awaitJoins(now, g.rebalanceTimeout())
}

// delayInitial gives other members time to join a group that was empty. It waits for delay, and
// again as long as new members come, within what remains of the rebalance timeout.
func (g *group) delayInitial(now time.Time, delay, remaining time.Duration) {
	g.joinTimer.fire = func(now time.Time) {
		if !g.newMember || remaining == 0 {
			g.completeJoin(now)
			return
		}
		g.newMember = false
		g.delayInitial(now, min(g.shard.cfg.InitialRebalanceDelay, remaining), max(remaining-delay, 0))
	}
	g.shard.timers.set(&g.joinTimer, now.Add(delay))
}

func (g *group) awaitJoins(now time.Time, d time.Duration) {
	g.joinTimer.fire = g.completeJoin
	g.shard.timers.set(&g.joinTimer, now.Add(d))
}

func (g *group) allJoined() bool { return g.joining == len(g.members) && len(g.pending) == 0 }

// maybeCompleteJoin ends the join phase if all members have joined. It does not end the initial
// delay.
func (g *group) maybeCompleteJoin(now time.Time) {
	if g.state == PreparingRebalance && g.previous != Empty && g.allJoined() {
		g.completeJoin(now)
	}
}

// rejoinWaitMin keeps a group whose members allow no time from spinning.
const rejoinWaitMin = time.Second

// completeJoin ends the join phase and starts the next generation. A member that has not joined is
// removed; a static member is removed only when its session ends.
func (g *group) completeJoin(now time.Time) {
	g.shard.timers.stop(&g.joinTimer)
	for i := len(g.members) - 1; i >= 0; i-- {
		if m := g.members[i]; !m.join.on && m.instance == nil {
			g.remove(m)
		}
	}
	if len(g.members) > 0 && !g.electLeader() {
		g.awaitJoins(now, max(g.rebalanceTimeout(), rejoinWaitMin))
		return
	}
	g.generation++
	if len(g.members) == 0 {
		g.protocol = ""
		g.enter(now, Empty)
		g.persist(func(time.Time, error) {
			// If the write was refused, the log still names members that will not come back. They
			// time out after a restart.
		})
		return
	}
	g.protocol = g.elect()
	g.enter(now, CompletingRebalance)
	for _, m := range g.members {
		g.answerJoin(m, g.joined(m))
		g.renew(now, m)
		m.fresh = false
		m.owes = true
	}
	g.owing = len(g.members)
	g.syncTimer.fire = g.expireSyncs
	g.shard.timers.set(&g.syncTimer, now.Add(g.rebalanceTimeout()))
}

// electLeader keeps the leader if it has joined, and otherwise takes the first member that has. It
// reports whether there is one.
func (g *group) electLeader() bool {
	if g.byID[g.leader].join.on {
		return true
	}
	for _, m := range g.members {
		if m.join.on {
			g.leader = m.id
			return true
		}
	}
	return false
}

// elect returns the protocol that most members prefer among those that all members support. If two
// have as many votes, it is the one for which the earlier member voted.
func (g *group) elect() string {
	votes := make(map[string]int)
	best := ""
	vote := func(m *member) string {
		for _, p := range m.protocols {
			if g.supported[p.Name] == len(g.members) {
				return p.Name
			}
		}
		return ""
	}
	for _, m := range g.members {
		votes[vote(m)]++
	}
	for _, m := range g.members {
		if name := vote(m); best == "" || votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// expireSyncs removes members that have joined the generation and not synced in time.
func (g *group) expireSyncs(now time.Time) {
	if g.state != CompletingRebalance && g.state != Stable || g.owing == 0 {
		return
	}
	for i := len(g.members) - 1; i >= 0; i-- {
		if g.members[i].owes {
			g.remove(g.members[i])
		}
	}
	g.prepareRebalance(now)
}
