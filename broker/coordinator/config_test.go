package coordinator

import (
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	c := Config{}.WithDefaults()
	if c.Partitions != 50 || c.ReplicationFactor != 3 || c.CheckInterval != 10*time.Minute || c.OffsetsRetention != 7*24*time.Hour ||
		c.InitialRebalanceDelay != 3*time.Second || c.MinSessionTimeout != 6*time.Second || c.MaxSessionTimeout != 30*time.Minute || c.OffsetMetadataBytesMax != 4096 {
		t.Errorf("not Kafka's defaults: %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if m := (Config{InitialRebalanceDelay: -1}).WithDefaults().machine(); m.InitialRebalanceDelay != 0 || m.MaxSize != c.MaxSize {
		t.Errorf("without delay: %+v", m)
	}
	err := Config{MinSessionTimeout: time.Hour, Partitions: -1, CheckInterval: -1}.Validate()
	for _, want := range []string{"MaxSessionTimeout is 1800000000000, want at least 3600000000000", "Partitions is -1", "CheckInterval is -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
