package metadata

import (
	"errors"

	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/ident"
)

// The refusals beside those of catalog.
var (
	ErrNoBroker       = errors.New("no broker has a current incarnation")
	ErrInvalidCommand = errors.New("command does not make sense")
	ErrRestoring      = errors.New("restore was not finished: run sluice restore again into an empty directory")
	ErrExhausted      = errors.New("no ids left in this generation")
)

// Result is the answer to a command. Err is a refusal, which the state machine decides and which is
// the same on every node. A refused command did not change the state, except for FSM time and the
// remembered answer.
type Result struct {
	Err error

	Registration catalog.Registration // RegisterIncarnation
	Topic        *catalog.Topic       // CreateTopic, CreatePartitions, SetConfigs
	Producers    ProducerBlock        // AllocateProducerIds
	FirstObject  ident.ObjectID       // ReserveObjects: the first of the block
	Commit       catalog.CommitResult // CommitFlush
	// This is the answer of an earlier application of the same command.
	Repeated bool

	Changes []Change
}

// ProducerBlock is a run of producer ids that nobody else gets.
type ProducerBlock struct {
	First ident.ProducerID
	Count int
}

// ProducerBlockCount is how many producer ids a block has.
const ProducerBlockCount = 1000

// ChangeKind says what changed.
type ChangeKind uint8

// The kinds of change.
const (
	TopicCreated    ChangeKind = iota + 1 // Topic: the new one
	TopicDeleted                          // Topic: as it was before
	PartitionsAdded                       // Topic: with the new ones; Partition: the first of them
	ConfigsSet                            // Topic: with the new configs
	LeadersChanged                        // Topic: some or all of its partitions
	HeadChanged                           // Partition: committed end, ranges, state or manifest
	// Partition: log start, and perhaps what HeadChanged says.
	LogStartMoved
	BrokerConfigsSet // of one broker or of all
)

// Change is one thing that a command changed and on which storage acts. The state shows it already.
// All nodes see changes in the same order.
type Change struct {
	Kind      ChangeKind
	Topic     *catalog.Topic
	Partition ident.TopicPartition // set for PartitionsAdded, HeadChanged and LogStartMoved
}

// refusals gives each refusal its number in a stored answer. Numbers never change.
var refusals = []error{
	1:  catalog.ErrTopicExists,
	2:  catalog.ErrTopicNotFound,
	3:  catalog.ErrInvalidPartitions,
	4:  catalog.ErrFenced,
	5:  catalog.ErrNotPrepared,
	6:  catalog.ErrConflict,
	7:  ErrNoBroker,
	8:  ErrInvalidCommand,
	9:  ErrRestoring,
	10: ErrExhausted,
}

func refusalNumber(err error) uint32 {
	if err == nil {
		return 0
	}
	for i, r := range refusals {
		if r != nil && errors.Is(err, r) {
			return uint32(i)
		}
	}
	panic("BUG: refusal without a number: " + err.Error())
}

func refusalOf(number uint32) (error, bool) {
	if number == 0 {
		return nil, true
	}
	if number >= uint32(len(refusals)) {
		return nil, false
	}
	return refusals[number], true
}
