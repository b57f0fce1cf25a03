package harness

import (
	"strings"
	"testing"

	"github.com/sluicemq/sluice/compat-tests/history"
)

// Every acknowledged record of this life must be where its answer said, and no record may be from
// another life.
func TestLives_Compare(t *testing.T) {
	one, two, other := history.ID{Client: livesClient + 3, Counter: 1}, history.ID{Client: livesClient + 3, Counter: 2}, history.ID{Client: livesClient + 2, Counter: 1}
	for _, c := range []struct {
		name string
		at   map[history.ID]int64
		want string // part of the error; "" for none
	}{
		{"all there", map[history.ID]int64{one: 0, two: 1}, ""},
		{"what was in doubt is not there", map[history.ID]int64{one: 0}, ""},
		{"acknowledged and lost", map[history.ID]int64{two: 1}, "is there: false"},
		{"elsewhere", map[history.ID]int64{one: 1, two: 0}, "is there: true, at 1"},
		{"of another life", map[history.ID]int64{one: 0, other: 1}, "of another life"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &Lives{Topic: "t", sent: []attempt{{one, 0}, {two, -1}}}
			l.Count.Store(3)
			err := l.compare(c.at)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
