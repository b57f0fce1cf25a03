package node

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicemq/sluice/storage/bucket"
)

// ErrBucketUnfit says that the object store lacks what a cluster of several brokers needs.
var ErrBucketUnfit = errors.New("the object store ignores If-None-Match: several brokers would replace each other's objects and not notice; use a store that refuses to create an object twice, such as S3, MinIO or a current versitygw")

// refuseBucket returns an error if a cluster of that many brokers must not run on the store. With
// one broker, a store that replaces objects is a risk, and leads to a warning. With several brokers
// it loses records.
func refuseBucket(caps bucket.Capabilities, brokers int) error {
	if !caps.ConditionalCreate && brokers > 1 {
		return ErrBucketUnfit
	}
	return nil
}

// risks says what can go wrong with a store that lacks a capability. The worst comes first.
func risks(caps bucket.Capabilities) (out []string) {
	for _, c := range []struct {
		there bool
		risk  string
	}{
		{caps.RangedRead, "the store does not serve ranges of an object: records in the bucket cannot be read; use another store"},
		{caps.ConditionalCreate, "the store ignores If-None-Match and replaces objects that exist: a second broker on this prefix (of a copied directory, " +
			"or after a restore while this one still runs) would replace what this one has stored, and neither would notice; never run two, and use a " +
			"store that refuses to create an object twice, such as S3, MinIO or a current versitygw"},
		{caps.ListAfterWrite, "the store does not list an object that was just created: `sluice restore` may miss the newest records"},
		{caps.ChecksumRefused, "the store takes a body that does not match its checksum: damage on the way to it is noticed on reading only"},
	} {
		if !c.there {
			out = append(out, c.risk)
		}
	}
	return out
}

// probeBucket tries out at every start what the store does, and reports that in the log and the
// metrics. An error means that this node must not run on the store.
func (n *Node) probeBucket() error {
	caps, err := bucket.Probe(n.ctx, n.deps.Bucket, "", n.id.Directory)
	if err != nil {
		n.deps.Log.Warn("could not probe the bucket", "err", err)
		return nil
	}
	for name, there := range map[string]bool{
		"conditional_create": caps.ConditionalCreate, "ranged_read": caps.RangedRead,
		"checksum_refused": caps.ChecksumRefused, "list_after_write": caps.ListAfterWrite,
	} {
		value := 0.0
		if there {
			value = 1
		}
		n.probed.WithLabelValues(name).Set(value)
	}
	if err := refuseBucket(caps, len(n.cat.Brokers())); err != nil {
		return err
	}
	for _, risk := range risks(caps) {
		n.deps.Log.Warn("the object store is not what it should be", "risk", risk)
	}
	n.deps.Log.Info("bucket probed", "capabilities", caps.String())
	return nil
}

func newProbedGauge() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sluice_bucket_capability",
		Help: "1 if the object store was seen at this start to do what the label says, 0 if not; absent before it was probed. Without conditional_create a second broker on the same prefix is not noticed.",
	}, []string{"capability"})
}
