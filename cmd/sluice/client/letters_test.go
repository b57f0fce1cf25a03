package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readAll reads an input by a format.
func readAll(format, in string) ([]*kgo.Record, error) {
	pieces, err := parseFormat(format)
	if err != nil {
		return nil, err
	}
	i := newInput(strings.NewReader(in))
	i.next = (*input).formatted
	if i.pieces, err = inputFormat(pieces, "\n"); err != nil {
		return nil, err
	}
	return drain(i)
}

func drain(i *input) (records []*kgo.Record, err error) {
	for {
		r, err := i.read()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records = append(records, r)
	}
}

// samples contain what is easily confused: null and empty, delimiters inside values, bytes that are
// not text.
var samples = []*kgo.Record{
	{Topic: "t", Partition: 3, Timestamp: time.UnixMilli(1772352000000), Key: []byte("k"), Value: []byte("v")},
	{Topic: "t", Partition: 0, Timestamp: time.UnixMilli(0), Key: nil, Value: []byte{}},
	{Topic: "t", Partition: 1, Timestamp: time.UnixMilli(7), Key: []byte{}, Value: nil},
	{Topic: "t", Partition: 1, Timestamp: time.UnixMilli(7), Key: []byte("a b\n"), Value: []byte("%s \x00\xff\n\n")},
	{Topic: "t", Partition: 1, Timestamp: time.UnixMilli(7), Value: []byte("h"), Headers: []kgo.RecordHeader{
		{Key: "a", Value: []byte("1")}, {Key: "empty", Value: []byte{}}, {Key: "null"}, {Key: "a", Value: []byte("again")}}},
}

// TestFormatRoundTrip: what one format has printed can be read by the same format.
func TestFormatRoundTrip(t *testing.T) {
	for _, format := range []string{`%t %p %T %h %K %k%S %s\n`, `%t %p %T %h\n%K %k%R%s`, `%S|%K|%h|%t|%p|%T|%s%k`} {
		pieces, err := parseFormat(format)
		if err != nil {
			t.Fatal(err)
		}
		var printed []byte
		for _, r := range samples {
			printed = appendRecord(printed, pieces, r, "")
		}
		got, err := readAll(format, string(printed))
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		if diff := cmp.Diff(simple(samples), simple(got)); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
}

// TestEnvelopeRoundTrip: the same for JSON. The partition is chosen anew.
func TestEnvelopeRoundTrip(t *testing.T) {
	var printed []byte
	withBytes := append([]*kgo.Record{{Topic: "t", Timestamp: time.UnixMilli(9), Key: []byte("<&>\xff"), Value: []byte("<&>"),
		Headers: []kgo.RecordHeader{{Key: "b", Value: []byte{0xff}}, {Key: "n"}}}}, samples...)
	var want []*kgo.Record
	for _, r := range withBytes {
		line, err := newEnvelope(r).line()
		if err != nil {
			t.Fatal(err)
		}
		printed = append(printed, line...)
		anew := *r
		anew.Partition = -1
		want = append(want, &anew)
	}
	i := newInput(bytes.NewReader(append(printed, "\n  \n"...))) // blank lines are skipped
	i.next = (*input).enveloped
	got, err := drain(i)
	if err != nil {
		t.Fatal(err)
	}
	want[2].Timestamp = time.Time{} // 0 is "now", as if ts were missing
	if diff := cmp.Diff(simple(want), simple(got)); diff != "" {
		t.Error(diff)
	}
}

// simple is what a round trip keeps, in a form that tells nulls apart.
func simple(records []*kgo.Record) (list []string) {
	for _, r := range records {
		line := fmt.Sprintf("%s %d %d", r.Topic, r.Partition, r.Timestamp.UnixMilli())
		for _, b := range [][]byte{r.Key, r.Value} {
			line += fmt.Sprintf(" %q/%v", b, b == nil)
		}
		for _, h := range r.Headers {
			line += fmt.Sprintf(" %s=%q/%v", h.Key, h.Value, h.Value == nil)
		}
		list = append(list, line)
	}
	return list
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		name, in, delimiter, keyEnd string
		want                        []string // "key=value"; "-" for a null key
	}{
		{"plain", "a\nb\n", "\n", "", []string{"-=a", "-=b"}},
		{"no end", "a\nb", "\n", "", []string{"-=a", "-=b"}},
		{"empty lines", "\n\na\n\n", "\n", "", []string{"-=", "-=", "-=a", "-="}},
		{"nothing", "", "\n", "", nil},
		{"long delimiter", "a--b-c--", "--", "", []string{"-=a", "-=b-c"}},
		{"repeated byte in the delimiter", "a;;;b", ";;", "", []string{"-=a", "-=;b"}},
		{"keys", "k:v\nk:v:w\n:v\nk:\nno\n", "\n", ":", []string{"k=v", "k=v:w", "=v", "k=", "-=no"}},
		{"over the buffer", strings.Repeat("x", 200_000) + "\ny", "\n", "", []string{"-=" + strings.Repeat("x", 200_000), "-=y"}},
	} {
		i := newInput(strings.NewReader(c.in))
		i.next, i.delimiter, i.keyEnd = (*input).line, c.delimiter, c.keyEnd
		records, err := drain(i)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, r := range records {
			key := "-"
			if r.Key != nil {
				key = string(r.Key)
			}
			got = append(got, key+"="+string(r.Value))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// TestClaimedLength: memory for a claimed length is not allocated before the bytes are there.
func TestClaimedLength(t *testing.T) {
	if _, err := readAll(`%S %s`, fmt.Sprintf("%d x", recordBytesMax)); err == nil || !strings.Contains(err.Error(), "ends after 1 of") {
		t.Errorf("cut short: %v", err)
	}
	if _, err := readAll(`%S %s`, fmt.Sprintf("%d x", recordBytesMax+1)); err == nil || !strings.Contains(err.Error(), "want -1 to") {
		t.Errorf("too long: %v", err)
	}
}

// FuzzFormat: no format and no input makes the reader panic or loop. What is read by a format with
// lengths prints as it was.
func FuzzFormat(f *testing.F) {
	f.Add(`%k:%s\n`, "a:b\nc:d")
	f.Add(`%K %k%S %s`, "1 a2 bc-1 0 ")
	f.Add(`%R%s`, "\x00\x00\x00\x01x\xff\xff\xff\xff")
	f.Add(`x%t,%p,%T,%h|%s\x00`, "xt,1,2,a=b|v\x00")
	f.Fuzz(func(t *testing.T, format, in string) {
		records, err := readAll(format, in)
		if errors.Is(err, io.EOF) {
			t.Fatalf("the end is no error: %v", err)
		}
		if len(records) > len(in)+1 {
			t.Fatalf("%d records of %d bytes", len(records), len(in))
		}
	})
}
