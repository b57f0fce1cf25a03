// ApiVersions, versions 0 to 4: 1 has the throttle time, 3 is flexible and names the client, 4
// allows features from 0 on.
//
// A request of a higher version is answered as version 0, with UNSUPPORTED_VERSION and the range of
// ApiVersions itself, so that the client asks again. The response header is always v0.

package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const clientNameVersion = 3

func (b *Broker) apiVersions(_ context.Context, c *call, req *kmsg.ApiVersionsRequest) kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	if !c.row.serves(c.header.Version) {
		resp.ErrorCode = int16(codeOf(errUnsupportedVersion))
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{listedVersions(c.row)}
		return resp
	}
	if c.version >= clientNameVersion && !(isSoftwareName(req.ClientSoftwareName) && isSoftwareName(req.ClientSoftwareVersion)) {
		resp.ErrorCode = int16(codeOf(errInvalidRequest))
		return resp
	}
	for _, a := range apis {
		resp.ApiKeys = append(resp.ApiKeys, listedVersions(a))
	}
	slices.SortFunc(resp.ApiKeys, func(a, b kmsg.ApiVersionsResponseApiKey) int { return int(a.ApiKey - b.ApiKey) })
	resp.FinalizedFeaturesEpoch = 0 // the set never changes: see UpdateFeatures
	for _, f := range features {
		resp.SupportedFeatures = append(resp.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{Name: f.name, MinVersion: f.min, MaxVersion: f.level})
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{Name: f.name, MinVersionLevel: f.level, MaxVersionLevel: f.level})
	}
	return resp
}

func listedVersions(a *api) kmsg.ApiVersionsResponseApiKey {
	return kmsg.ApiVersionsResponseApiKey{ApiKey: a.key, MinVersion: a.versions.listed, MaxVersion: a.versions.high}
}

// isSoftwareName accepts letters and digits with '-' and '.' between them.
func isSoftwareName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		inner := i > 0 && i < len(s)-1
		if !alphanumeric && !(inner && (c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}
