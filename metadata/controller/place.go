package controller

import "github.com/sluicemq/sluice/metadata"

// PlaceTopic names the brokers that lead the partitions of a new topic. When the state machine
// applies the command, it checks them against the brokers that it knows by then. If it returns
// metadata.ErrNoBroker, the topic needs another placement.
//
// The proposer decides instead of the state machine, so that a better rule needs no agreement of
// all nodes on a new version of the state machine.
func PlaceTopic(s *metadata.State, count int) []int32 {
	return metadata.InTurn(s.Leaders(), count, s.NextCreation())
}

// PlacePartitions names the brokers that lead partitions [have, count) of a topic that grows.
// The turn goes on where it ended with the partitions before.
func PlacePartitions(s *metadata.State, creation uint64, have, count int) []int32 {
	return metadata.InTurn(s.Leaders(), count-have, creation+uint64(have))
}
