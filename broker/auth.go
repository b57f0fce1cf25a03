package broker

// Operation is what a request wants to do, with Kafka's ACL numbers.
type Operation int8

// These are the operations.
const (
	OpNone            Operation = 0
	OpRead            Operation = 3
	OpWrite           Operation = 4
	OpCreate          Operation = 5
	OpDelete          Operation = 6
	OpAlter           Operation = 7
	OpDescribe        Operation = 8
	OpClusterAction   Operation = 9
	OpDescribeConfigs Operation = 10
	OpAlterConfigs    Operation = 11
	OpIdempotentWrite Operation = 12
)

// Resource is the kind of thing that an operation is done to.
type Resource int8

// These are the kinds of resources, with Kafka's ACL numbers.
const (
	OnNothing       Resource = 0
	OnTopic         Resource = 2
	OnGroup         Resource = 3
	OnCluster       Resource = 4
	OnTransactional Resource = 5
)

// Need is the permission that a row of the dispatch table requires, on each thing that a request
// names.
type Need struct {
	Op Operation
	On Resource
}

var (
	anyone                 = Need{OpNone, OnNothing}
	topicRead              = Need{OpRead, OnTopic}
	topicWrite             = Need{OpWrite, OnTopic}
	topicCreate            = Need{OpCreate, OnTopic}
	topicDelete            = Need{OpDelete, OnTopic}
	topicAlter             = Need{OpAlter, OnTopic}
	topicDescribe          = Need{OpDescribe, OnTopic}
	topicDescribeConfigs   = Need{OpDescribeConfigs, OnTopic}
	topicAlterConfigs      = Need{OpAlterConfigs, OnTopic}
	clusterAlter           = Need{OpAlter, OnCluster}
	clusterDescribe        = Need{OpDescribe, OnCluster}
	clusterIdempotentWrite = Need{OpIdempotentWrite, OnCluster}
	groupRead              = Need{OpRead, OnGroup}
	groupDescribe          = Need{OpDescribe, OnGroup}
	groupDelete            = Need{OpDelete, OnGroup}
)

// These are the operations that Kafka knows for each resource, for the fields "authorized
// operations".
var (
	topicOperations   = []Operation{OpRead, OpWrite, OpCreate, OpDelete, OpAlter, OpDescribe, OpDescribeConfigs, OpAlterConfigs}
	groupOperations   = []Operation{OpRead, OpDelete, OpDescribe, OpDescribeConfigs, OpAlterConfigs}
	clusterOperations = []Operation{OpCreate, OpAlter, OpDescribe, OpClusterAction, OpDescribeConfigs, OpAlterConfigs, OpIdempotentWrite}
)

// operationsNotAsked is the value of a field "authorized operations" that the request did not ask
// for.
const operationsNotAsked = -1 << 31

// authorizedOperations returns, as a bit field, what the caller may do to something.
func (b *Broker) authorizedOperations(on Resource, name string) int32 {
	operations := topicOperations
	switch on {
	case OnCluster:
		operations = clusterOperations
	case OnGroup:
		operations = groupOperations
	}
	var bits int32
	for _, op := range operations {
		if b.authorize(Need{op, on}, name) {
			bits |= 1 << op
		}
	}
	return bits
}
