package group

import "errors"

// What a group answers when it refuses; the number is Kafka's code, which broker/errors.go alone gives.
var (
	ErrMetadataTooLarge     = errors.New("metadata of the commit is larger than offset.metadata.max.bytes")    // 12
	ErrIllegalGeneration    = errors.New("not the generation of the group")                                    // 22
	ErrInconsistentProtocol = errors.New("no protocol type or protocol in common with the group")              // 23
	ErrInvalidGroupID       = errors.New("invalid group id")                                                   // 24
	ErrUnknownMember        = errors.New("not a member of the group")                                          // 25
	ErrInvalidSession       = errors.New("session timeout outside group.min and group.max.session.timeout.ms") // 26
	ErrRebalanceInProgress  = errors.New("the group is rebalancing")                                           // 27
	ErrTooLong              = errors.New("a string is longer than a record can hold")                          // 42
	ErrNotEmpty             = errors.New("the group is not empty")                                             // 68
	ErrNotFound             = errors.New("no such group")                                                      // 69
	ErrMemberIDRequired     = errors.New("join again with the member id given")                                // 79
	ErrMaxSize              = errors.New("the group has group.max.size members")                               // 81
	ErrFencedInstance       = errors.New("another member has taken over this group.instance.id")               // 82
	ErrSubscribed           = errors.New("the group is subscribed to the topic")                               // 86
)
