// DescribeCluster, versions 0 to 2: 1 has types of endpoints, of which only brokers (1) exist here;
// 2 has fenced brokers, and lists none.

package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	endpointBrokers        = 1
	endpointControllers    = 2
	endpointTypesSinceVers = 1
)

func (b *Broker) describeCluster(_ context.Context, c *call, req *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ClusterAuthorizedOperations = operationsNotAsked
	if c.version >= endpointTypesSinceVers && req.EndpointType != endpointBrokers {
		err := fmt.Errorf("%w: %d", errUnknownEndpoint, req.EndpointType)
		if req.EndpointType == endpointControllers {
			err = errWrongEndpoint
		}
		resp.ErrorCode, resp.ErrorMessage = int16(codeOf(err)), messageOf(err)
		return resp
	}
	nodes := c.brokers()
	resp.ClusterID, resp.ControllerID = b.topics.ClusterID(), controllerID(nodes)
	for _, n := range nodes {
		resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{NodeID: n.ID, Host: n.Host, Port: n.Port, Rack: n.Rack})
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = b.authorizedOperations(OnCluster, "")
	}
	return resp
}
