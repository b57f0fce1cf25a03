package controller

import "github.com/sluicemq/sluice/metadata"

// PlaceTopic names the brokers that lead the partitions of a new topic. The state machine judges
// the command that names them by the brokers that it knows then: metadata.ErrNoBroker asks for
// another placement.
//
// The proposer decides, and not the state machine, so that a better rule needs no agreement of all
// nodes on a new version of the state machine.
func PlaceTopic(s *metadata.State, count int) []int32 {
	return metadata.InTurn(s.Leaders(), count, s.NextCreation())
}

// PlacePartitions names the brokers that lead partitions [have, count) of a topic that grows, so
// that they go on where those before left off.
func PlacePartitions(s *metadata.State, creation uint64, have, count int) []int32 {
	return metadata.InTurn(s.Leaders(), count-have, creation+uint64(have))
}
