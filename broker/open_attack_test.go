package broker

import (
	"testing"

	"github.com/sluicemq/sluice/broker/coordinator"
)

// TestOpenedAfterTheEnd: the broker ends by itself, because a listener dies, and only then the log
// comes. Open closes the groups that it opened on this log, because nobody else would, and the log
// is closed soon.
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
