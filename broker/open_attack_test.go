package broker

import (
	"testing"

	"github.com/sluicemq/sluice/broker/coordinator"
)

// TestOpenedAfterTheEnd: the broker ends by itself, by a listener that dies, and only then the log comes. The groups that are opened
// over it are closed again: nobody else would, and the log is closed soon.
func TestOpenedAfterTheEnd(t *testing.T) {
	virtually(t, Config{}, func(t *testing.T, h *harness, dial func() *rawClient) {
		h.topics.create(t, coordinator.OffsetsTopic, 1, nil)
		h.groups.Close()
		h.shutLog()
		if err := h.stop(); err != nil {
			t.Error(err)
		}
		h.Open(h.log)
		if broker, err := h.groups.Find(t.Context(), "g"); err == nil {
			t.Errorf("the groups are at work after the end: coordinator of g is %d", broker)
		}
	})
}
