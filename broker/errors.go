package broker

import (
	"context"
	"errors"
	"strings"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// These errors are given by handlers themselves.
var (
	errUnauthorizedTopic   = errors.New("not authorised for this topic")
	errUnauthorizedGroup   = errors.New("not authorised for this group")
	errUnauthorizedCluster = errors.New("not authorised for the cluster")
	errUnauthorizedTxn     = errors.New("transactions are not served")
	errUnknownTopicID      = errors.New("no topic with this id")
	errInvalidTopic        = errors.New("invalid topic")
	errInvalidAcks         = errors.New("acks must be -1, 0 or 1")
	errTimedOut            = errors.New("not settled within the request's timeout: outcome unknown")
	errTooLarge            = errors.New("batch is larger than max.message.bytes")
	errOverSegment         = errors.New("batch is larger than segment.bytes")
	errInvalidRecord       = errors.New("invalid record batch")
	errInvalidTimestamp    = errors.New("invalid timestamp")
	errUnsupportedCodec    = errors.New("unsupported compression codec")
	errInvalidRequest      = errors.New("invalid request")
	errUnsupportedVersion  = errors.New("not served at this version")
	errInvalidReplication  = errors.New("invalid replication factor")
	errInvalidAssignment   = errors.New("invalid replica assignment")
	errPolicy              = errors.New("not permitted by the broker's limits")
	errNoCoordinator       = errors.New("no coordinator is available")
	errNoFetchSession      = errors.New("fetch sessions are not kept")
	errWrongEndpoint       = errors.New("controllers are not reached here")
	errDeletionOff         = errors.New("deletion of topics is switched off (delete.topic.enable=false)")
	errElectionNotNeeded   = errors.New("the partition has its leader: no election is needed")
	errNoEligibleLeader    = errors.New("no live broker may lead the partition")
	errNoReassignment      = errors.New("no reassignment of the partition is in progress")
	errFeatureUpdate       = errors.New("features are not updated")
	errUnknownEndpoint     = errors.New("unsupported endpoint type")
)

// codes maps every error that can reach a client to its code. The order matters only if one error
// wraps another.
var codes = []struct {
	err  error
	code protocol.Code
}{
	// ErrLoading stands before the errors that it may wrap.
	{coordinator.ErrLoading, protocol.CodeCoordinatorLoadInProgress},
	{coordinator.ErrNotAvailable, protocol.CodeCoordinatorNotAvailable},
	{coordinator.ErrNotCoordinator, protocol.CodeNotCoordinator},

	// Members try again with the same coordinator; 15 or 16 would make them look for another one,
	// and 81 would end them.
	{group.ErrNoMemory, protocol.CodeCoordinatorLoadInProgress},
	{group.ErrTooLong, protocol.CodeInvalidRequest},
	{group.ErrMetadataTooLarge, protocol.CodeOffsetMetadataTooLarge},
	{group.ErrIllegalGeneration, protocol.CodeIllegalGeneration},
	{group.ErrInconsistentProtocol, protocol.CodeInconsistentGroupProtocol},
	{group.ErrInvalidGroupID, protocol.CodeInvalidGroupID},
	{group.ErrUnknownMember, protocol.CodeUnknownMemberID},
	{group.ErrInvalidSession, protocol.CodeInvalidSessionTimeout},
	{group.ErrRebalanceInProgress, protocol.CodeRebalanceInProgress},
	{group.ErrNotEmpty, protocol.CodeNonEmptyGroup},
	{group.ErrNotFound, protocol.CodeGroupIDNotFound},
	{group.ErrMemberIDRequired, protocol.CodeMemberIDRequired},
	{group.ErrMaxSize, protocol.CodeGroupMaxSizeReached},
	{group.ErrFencedInstance, protocol.CodeFencedInstanceID},
	{group.ErrSubscribed, protocol.CodeGroupSubscribedToTopic},

	{storage.ErrUnknownPartition, protocol.CodeUnknownTopicOrPartition},
	{storage.ErrNotLeader, protocol.CodeNotLeaderOrFollower},
	{storage.ErrNotReady, protocol.CodeLeaderNotAvailable},
	{storage.ErrStuck, protocol.CodeNotEnoughReplicas},
	{storage.ErrThrottled, protocol.CodeNotEnoughReplicas},
	// Clients ask again and are told the leader. 6 or 56 would tell librdkafka that nothing was
	// written.
	{storage.ErrWALFailed, protocol.CodeRequestTimedOut},
	{storage.ErrLeadershipLost, protocol.CodeRequestTimedOut},
	{storage.ErrClosed, protocol.CodeNotLeaderOrFollower},
	{storage.ErrOutOfOrder, protocol.CodeOutOfOrderSequenceNumber},
	{storage.ErrStaleProducer, protocol.CodeInvalidProducerEpoch},
	{storage.ErrInvalidTxnState, protocol.CodeInvalidTxnState},
	{storage.ErrOffsetOutOfRange, protocol.CodeOffsetOutOfRange},
	{storage.ErrFencedLeaderEpoch, protocol.CodeFencedLeaderEpoch},
	{storage.ErrUnknownEpoch, protocol.CodeUnknownLeaderEpoch},
	{storage.ErrUnavailable, protocol.CodeKafkaStorageError},
	{storage.ErrCorrupt, protocol.CodeKafkaStorageError},
	{storage.ErrTooLarge, protocol.CodeRecordListTooLarge},
	{storage.ErrUnsupportedTimestamp, protocol.CodeUnsupportedVersion},
	{storage.ErrTooManyProducers, protocol.CodePolicyViolation},

	{catalog.ErrTopicExists, protocol.CodeTopicAlreadyExists},
	{catalog.ErrTopicNotFound, protocol.CodeUnknownTopicOrPartition},
	{catalog.ErrInvalidPartitions, protocol.CodeInvalidPartitions},
	{catalog.ErrInvalidConfig, protocol.CodeInvalidConfig},
	{catalog.ErrFenced, protocol.CodeNotLeaderOrFollower},
	{catalog.ErrNotPrepared, protocol.CodeUnknownServerError}, // storage never returns it
	// The code is retriable, so that the client decides again.
	{catalog.ErrConflict, protocol.CodeRequestTimedOut},
	{catalog.ErrUnavailable, protocol.CodeRequestTimedOut},

	{protocol.ErrCorruptBatch, protocol.CodeCorruptMessage},
	{protocol.ErrUnknownCodec, protocol.CodeUnsupportedCompressionType},
	{protocol.ErrTooLarge, protocol.CodeMessageTooLarge},
	{protocol.ErrMalformed, protocol.CodeInvalidRequest},

	{errUnauthorizedTopic, protocol.CodeTopicAuthorizationFailed},
	{errUnauthorizedGroup, protocol.CodeGroupAuthorizationFailed},
	{errUnauthorizedCluster, protocol.CodeClusterAuthorizationFailed},
	{errUnauthorizedTxn, protocol.CodeTransactionalIDAuthorizationFailed},
	{errUnknownTopicID, protocol.CodeUnknownTopicID},
	{errInvalidTopic, protocol.CodeInvalidTopicException},
	{errInvalidAcks, protocol.CodeInvalidRequiredAcks},
	{errTimedOut, protocol.CodeRequestTimedOut},
	{errTooLarge, protocol.CodeMessageTooLarge},
	{errOverSegment, protocol.CodeRecordListTooLarge},
	{errInvalidRecord, protocol.CodeInvalidRecord},
	{errInvalidTimestamp, protocol.CodeInvalidTimestamp},
	{errUnsupportedCodec, protocol.CodeUnsupportedCompressionType},
	{errInvalidRequest, protocol.CodeInvalidRequest},
	{errUnsupportedVersion, protocol.CodeUnsupportedVersion},
	{errInvalidReplication, protocol.CodeInvalidReplicationFactor},
	{errInvalidAssignment, protocol.CodeInvalidReplicaAssignment},
	{errPolicy, protocol.CodePolicyViolation},
	{errNoCoordinator, protocol.CodeCoordinatorNotAvailable},
	{errNoFetchSession, protocol.CodeFetchSessionIDNotFound},
	{errWrongEndpoint, protocol.CodeMismatchedEndpointType},
	{errUnknownEndpoint, protocol.CodeUnsupportedEndpointType},
	{errElectionNotNeeded, protocol.CodeElectionNotNeeded},
	{errNoEligibleLeader, protocol.CodeEligibleLeadersNotAvailable},
	{errNoReassignment, protocol.CodeNoReassignmentInProgress},
	{errFeatureUpdate, protocol.CodeInvalidUpdateVersion},
	// errDeletionOff stands after errInvalidRequest: below version 3 the error is both.
	{errDeletionOff, protocol.CodeTopicDeletionDisabled},

	{errStopped, protocol.CodeNotLeaderOrFollower},
	{context.DeadlineExceeded, protocol.CodeRequestTimedOut},
	{context.Canceled, protocol.CodeNotLeaderOrFollower}, // returned only when the broker stops
}

// codeOf turns an error into the code that a client gets. An error that codes does not name becomes
// UNKNOWN_SERVER_ERROR.
func codeOf(err error) protocol.Code {
	if err == nil {
		return protocol.CodeNone
	}
	code := protocol.CodeUnknownServerError
	for i := range codes {
		if errors.Is(err, codes[i].err) {
			code = codes[i].code
			break
		}
	}
	countError(code)
	return code
}

// These are the Fetch versions from which a client knows a code.
const (
	fetchStorageErrorVersion = 6
	fetchNotAvailableVersion = 11
)

// fetchCode is codeOf, restricted to the codes that Kafka's consumer accepts for a partition. Any
// other code makes its poll throw (docs/kafka-behaviour.md).
func fetchCode(err error, version int16) protocol.Code {
	code := codeOf(err)
	switch code {
	// The partition is still loading, which must never become OFFSET_OUT_OF_RANGE.
	case protocol.CodeLeaderNotAvailable:
		if version < fetchNotAvailableVersion {
			return protocol.CodeNotLeaderOrFollower
		}
		return protocol.CodeOffsetNotAvailable
	case protocol.CodeKafkaStorageError:
		if version < fetchStorageErrorVersion {
			return protocol.CodeNotLeaderOrFollower
		}
		return code
	case protocol.CodeNone, protocol.CodeNotLeaderOrFollower, protocol.CodeReplicaNotAvailable, protocol.CodeFencedLeaderEpoch,
		protocol.CodeUnknownTopicOrPartition, protocol.CodeUnknownTopicID, protocol.CodeInconsistentTopicID, protocol.CodeOffsetOutOfRange,
		protocol.CodeTopicAuthorizationFailed, protocol.CodeUnknownLeaderEpoch, protocol.CodeCorruptMessage:
		return code
	default:
		return protocol.CodeUnknownServerError
	}
}

// producerIDCode is codeOf for InitProducerId. A plain idempotent producer of the Java client
// retries 14, but would look for a transaction coordinator on 15 or 16.
func producerIDCode(err error) protocol.Code {
	switch code := codeOf(err); code {
	case protocol.CodeRequestTimedOut, protocol.CodeNotLeaderOrFollower:
		return protocol.CodeCoordinatorLoadInProgress
	default:
		return code
	}
}

// messageOf returns the text beside a code, or nil. The text is short, however long the names are
// that the client sent, and does not keep them in memory.
func messageOf(err error) *string {
	if err == nil {
		return nil
	}
	const messageBytesMax = 512
	s := err.Error()
	if len(s) > messageBytesMax {
		s = strings.Clone(s[:messageBytesMax])
	}
	// A cut may fall inside a letter, and clients send any bytes.
	s = strings.ToValidUTF8(s, "\uFFFD")
	return &s
}
