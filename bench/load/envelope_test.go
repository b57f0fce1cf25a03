package load

import (
	"bytes"
	"testing"
)

func TestPayloadsAreHalfRandom(t *testing.T) {
	for _, c := range []struct {
		size, count, random int // of a body
		ratio               float64
	}{{1024 - EnvelopeBytes, 1000, 512, 0.5}, {100 - EnvelopeBytes, 1000, 50, 0.5}, {1024 - EnvelopeBytes, 1000, 0, 0}, {100 - EnvelopeBytes, 1000, 52, 1}, {mib, 64, mib/2 + 24, 0.5}, {0, 1000, 0, 0.5}} {
		pool := newPool(c.size, c.ratio, 1)
		if len(pool) != c.count {
			t.Errorf("%d bodies of %d bytes, want %d", len(pool), c.size, c.count)
		}
		if n := len(bytes.TrimRight(pool[0], "\x00")); n > c.random || n < c.random-4 {
			t.Errorf("%d of %d bytes are random, want %d", n, c.size, c.random)
		}
		if c.random > 8 && bytes.Equal(pool[0], pool[1]) {
			t.Error("bodies are alike")
		}
	}
}

func TestEnvelopeIsReadAsWritten(t *testing.T) {
	v := newValue([]byte("body"), 7, 3)
	setTimes(v, 1234, 5678)
	if e := peek(v); e.partition != unstamped {
		t.Errorf("a record that has no partition yet: %+v", e)
	}
	setPlace(v, 11, 42)
	e, ok := open(v)
	if want := (envelope{run: 7, producer: 3, partition: 11, sequence: 42, intended: 1234, sent: 5678}); !ok || e != want {
		t.Errorf("%+v %v, want %+v", e, ok, want)
	}
}
