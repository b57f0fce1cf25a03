// UpdateFeatures, versions 0 to 2, all flexible: 1 has the type of an update and can only validate,
// 2 has no result for each feature.
//
// The features are those that ApiVersions lists, each at the only level that is served. An update
// to that level succeeds and changes nothing. Any other update is refused, and with it the whole
// request.

package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// feature is a feature with the lowest level that its name stands for, and with the level in force,
// which is also the highest.
type feature struct {
	name       string
	min, level int16
}

// features are the features that ApiVersions lists: metadata.version as a new cluster of Kafka 4.2
// has it. Tools print it, and take a broker without features for something else than Kafka. No
// feature is listed that is not served.
var features = []feature{{name: "metadata.version", min: 7, level: 29}}

// These are the types of updates.
const (
	upgradeOnly           = 1
	downgradeSafely       = 2
	downgradeLast         = 3
	upgradeTypeSince      = 1
	featureResultsLastVer = 1
)

func (b *Broker) updateFeatures(_ context.Context, c *call, req *kmsg.UpdateFeaturesRequest) kmsg.Response {
	resp := kmsg.NewPtrUpdateFeaturesResponse()
	err := checkUpdates(c.version, req.FeatureUpdates)
	if !c.allowed("") {
		err = errUnauthorizedCluster
	}
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = int16(codeOf(err)), messageOf(err)
		return resp
	}
	if c.version > featureResultsLastVer {
		return resp
	}
	for _, u := range req.FeatureUpdates {
		resp.Results = append(resp.Results, kmsg.UpdateFeaturesResponseResult{Feature: u.Feature, ErrorMessage: kmsg.StringPtr("NONE")})
	}
	return resp
}

func checkUpdates(version int16, updates []kmsg.UpdateFeaturesRequestFeatureUpdate) error {
	for i := range updates {
		u := &updates[i]
		kind := u.UpgradeType
		if version < upgradeTypeSince {
			kind = upgradeOnly
			if u.AllowDowngrade {
				kind = downgradeSafely
			}
		}
		if err := checkUpdate(u.Feature, u.MaxVersionLevel, kind); err != nil {
			return fmt.Errorf("%w: %s to level %d: %w", errFeatureUpdate, u.Feature, u.MaxVersionLevel, err)
		}
	}
	return nil
}

// checkUpdate says why a feature cannot be brought to a level.
func checkUpdate(name string, level int16, kind int8) error {
	if kind < upgradeOnly || kind > downgradeLast {
		return fmt.Errorf("no update is of type %d", kind)
	}
	for _, f := range features {
		switch {
		case f.name != name:
			continue
		case level == f.level:
			return nil
		case level > f.level:
			return fmt.Errorf("levels %d to %d are known", f.min, f.level)
		case kind == upgradeOnly:
			return fmt.Errorf("it is at level %d, and the request does not allow to lower it", f.level)
		}
		return fmt.Errorf("only level %d is served", f.level)
	}
	return fmt.Errorf("no such feature")
}
