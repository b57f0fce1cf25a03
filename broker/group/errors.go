package group

import "errors"

// The refusals of a group. The number above each one is its Kafka code; broker/errors.go alone
// turns errors into codes.
var (
	// 12
	ErrMetadataTooLarge = errors.New("metadata of the commit is larger than offset.metadata.max.bytes")
	// 14, which members retry with the same coordinator and the same id
	ErrNoMemory = errors.New("the memory for groups is used up (sluice.groups.memory.bytes)")
	// 22
	ErrIllegalGeneration = errors.New("not the generation of the group")
	// 23
	ErrInconsistentProtocol = errors.New("no protocol type or protocol in common with the group")
	// 24
	ErrInvalidGroupID = errors.New("invalid group id")
	// 25
	ErrUnknownMember = errors.New("not a member of the group")
	// 26
	ErrInvalidSession = errors.New("session timeout outside group.min and group.max.session.timeout.ms")
	// 27
	ErrRebalanceInProgress = errors.New("the group is rebalancing")
	// 42
	ErrTooLong = errors.New("a string is longer than a record can hold")
	// 68
	ErrNotEmpty = errors.New("the group is not empty")
	// 69
	ErrNotFound = errors.New("no such group")
	// 79
	ErrMemberIDRequired = errors.New("join again with the member id given")
	// 81
	ErrMaxSize = errors.New("the group has group.max.size members")
	// 82
	ErrFencedInstance = errors.New("another member has taken over this group.instance.id")
	// 86
	ErrSubscribed = errors.New("the group is subscribed to the topic")
)
