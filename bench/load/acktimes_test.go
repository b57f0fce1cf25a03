package load

import "testing"

func TestAckTimesPairBothOrders(t *testing.T) {
	a := newAckTimes(16)
	if early := a.acked(3, 5, 100); early {
		t.Error("received before it was")
	}
	if ns, known := a.received(3, 5, 130, 90); !known || ns != 30 {
		t.Errorf("%d %v, want 30 after the acknowledgement", ns, known)
	}
	if ns, known := a.received(3, 6, 130, 90); known {
		t.Errorf("%d: not acknowledged yet", ns)
	}
	if early := a.acked(3, 6, 140); !early {
		t.Error("it was received before")
	}
	if early := a.acked(4, 5, 100); early {
		t.Error("another partition")
	}
}

// A reader that is a whole ring behind must not look better than it is.
func TestAckTimesFarBehind(t *testing.T) {
	a := newAckTimes(1)
	for n := range 2 * a.perPartition {
		a.acked(0, n, 1000+n)
	}
	if ns, known := a.received(0, 0, 5000, 900); !known || ns != 4100 {
		t.Errorf("%d %v, want 4100: from when it was due", ns, known)
	}
	last := 2*a.perPartition - 1
	if ns, known := a.received(0, last, 1000+last+7, 0); !known || ns != 7 {
		t.Errorf("%d %v, want 7", ns, known)
	}
}

func TestAckTimesFitTenThousandPartitions(t *testing.T) {
	a := newAckTimes(10_000)
	if a.perPartition != ackTimesPerPartition || len(a.ring) != 10_000*ackTimesPerPartition {
		t.Errorf("%d per partition, %d", a.perPartition, len(a.ring))
	}
}
