package compat

import (
	"context"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// clientCodecs: every client reads what any client writes in any codec, and the broker keeps the
// codec.
func clientCodecs(t *testing.T, l *lab) {
	const topic, each = "codecs", 30
	mustCreate(t, l.Addr, topic, int32(len(codecs)))
	start := time.Now().Add(-time.Hour).UnixMilli()
	t.Run("Write", func(t *testing.T) {
		for i, s := range l.stocks {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				lines := l.run(t, s, "produce", "topic="+topic, fmt.Sprint("count=", each), fmt.Sprint("time=", start+int64(i)), "step=100")
				if got := len(lines); got != each*len(codecs) {
					t.Errorf("%d records acknowledged, want %d", got, each*len(codecs))
				}
			})
		}
	})
	want := codecLines(len(l.stocks), each, start)
	t.Run("Read", func(t *testing.T) {
		t.Run("attributes", func(t *testing.T) {
			t.Parallel()
			wantCodecs(t, l, topic, len(want))
		})
		for _, s := range l.stocks {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				lines := l.run(t, s, "drain", "topic="+topic, fmt.Sprint("partitions=", len(codecs)), fmt.Sprint("count=", len(want)))
				wantContents(t, recordsIn(t, lines), want)
			})
		}
	})
}

// codecLines are the records of all writers, without their offsets, sorted.
func codecLines(writers, each int, start int64) []string {
	var want []string
	for p, codec := range codecs {
		for w := range writers {
			for i := range each {
				value := codecValue(codec, i)
				want = append(want, fmt.Sprintf("%d %d k%d %d %08x %s", p, start+int64(w+100*i), i, len(value), crc32.ChecksumIEEE(value), codec))
			}
		}
	}
	slices.Sort(want)
	return want
}

// wantContents compares records with what was written, and requires offsets without a gap.
func wantContents(t *testing.T, records []seen, want []string) {
	t.Helper()
	var got []string
	next := make(map[int32]int64)
	for _, r := range records {
		if r.offset != next[r.partition] {
			t.Errorf("partition %d: offset %d after %d", r.partition, r.offset, next[r.partition]-1)
		}
		next[r.partition] = r.offset + 1
		got = append(got, fmt.Sprintf("%d %d %s", r.partition, r.timestamp, r.rest))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Errorf("of %d records, want %d, number %d is\n%s, want\n%s", len(got), len(want), i, got[i], want[i])
				return
			}
		}
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

// wantCodecs requires every batch of a partition to have the codec in which it was sent.
func wantCodecs(t *testing.T, l *lab, topic string, count int) {
	_, cl := l.kadm(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	for left := count; left > 0; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			if got := int(r.Attrs.CompressionType()); got != int(r.Partition) {
				t.Errorf("partition %d, offset %d: codec %d, want %d", r.Partition, r.Offset, got, r.Partition)
			}
		})
	}
}

// clientSeek: every client finds the start, the end and a time, and reads from there.
func clientSeek(t *testing.T, l *lab) {
	for _, s := range l.stocks {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			seekWith(t, l, s)
		})
	}
}

func seekWith(t *testing.T, l *lab, s stock) {
	const count, step = 50, 1000
	topic := "seek-" + s.name
	start := time.Now().Add(-time.Hour).UnixMilli()
	mustCreate(t, l.Addr, topic, int32(len(codecs)))
	l.run(t, s, "produce", "topic="+topic, fmt.Sprint("count=", count), fmt.Sprint("time=", start), fmt.Sprint("step=", step))
	positions := []struct {
		at   string
		want int64 // -1 if there is none
	}{
		{"earliest", 0},
		{strconv.FormatInt(start+10*step+1, 10), 11},
		{strconv.FormatInt(start+49*step, 10), 49},
		{strconv.FormatInt(start+1000*step, 10), -1},
		{"0", 0},
		{"latest", count},
	}
	var at, want []string
	for _, p := range positions {
		at = append(at, p.at)
		want = append(want, fmt.Sprintf("position %s %d", p.at, p.want))
		switch {
		case p.want == count:
			want = append(want, fmt.Sprintf("record 0 %d %d late 4 %08x -", count, start, crc32.ChecksumIEEE([]byte("late"))))
		case p.want >= 0:
			value := codecValue("none", int(p.want))
			want = append(want, fmt.Sprintf("record 0 %d %d k%d %d %08x none", p.want, start+p.want*step, p.want, len(value), crc32.ChecksumIEEE(value)))
		}
	}
	p := s.start(t, "seek", "topic="+topic, "at="+strings.Join(at, ","), "bootstrap="+l.Addr)
	p.Await(t, clientLimit, func(lines []string) error {
		if len(lines) < len(want)-1 {
			return fmt.Errorf("%d lines, want %d before the last record is written", len(lines), len(want)-1)
		}
		return nil
	})
	_, cl := l.kadm(t)
	late := &kgo.Record{Topic: topic, Key: []byte("late"), Value: []byte("late"), Timestamp: time.UnixMilli(start)}
	if err := cl.ProduceSync(t.Context(), late).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p.Done(t, clientLimit)
	if got := p.Lines(); !slices.Equal(got, want) {
		t.Errorf("printed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
