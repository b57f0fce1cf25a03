package client

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// envelopeHelp explains the JSON envelope, which has kcat's names.
const envelopeHelp = `JSON envelope of -J, one record per line, with kcat's names:
  {"topic":"t","partition":0,"offset":7,"tstype":"create","ts":1772352000000,
   "headers":["name","value"],"key":"k","payload":"v"}
What is not UTF-8 is named key_base64, payload_base64 and headers_base64 instead.`

// envelope is a record as JSON.
type envelope struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	TSType    string `json:"tstype"`
	TS        int64  `json:"ts"`
	// Name, value, name, value …; a value may be null.
	Headers       []*string `json:"headers,omitempty"`
	HeadersBase64 [][]byte  `json:"headers_base64,omitempty"` // the same, if a value is not UTF-8
	Key           *string   `json:"key"`
	KeyBase64     []byte    `json:"key_base64,omitempty"`
	Payload       *string   `json:"payload"`
	PayloadBase64 []byte    `json:"payload_base64,omitempty"`
}

func newEnvelope(r *kgo.Record) envelope {
	e := envelope{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, TSType: timestampType(r), TS: r.Timestamp.UnixMilli()}
	e.Key, e.KeyBase64 = textOrBytes(r.Key)
	e.Payload, e.PayloadBase64 = textOrBytes(r.Value)
	for _, h := range r.Headers {
		if !utf8.Valid(h.Value) {
			e.headersAsBytes(r.Headers)
			return e
		}
		value, _ := textOrBytes(h.Value)
		e.Headers = append(e.Headers, &h.Key, value)
	}
	return e
}

func (e *envelope) headersAsBytes(headers []kgo.RecordHeader) {
	e.Headers = nil
	for _, h := range headers {
		e.HeadersBase64 = append(e.HeadersBase64, []byte(h.Key), h.Value)
	}
}

func timestampType(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 0:
		return "create"
	case 1:
		return "logappend"
	}
	return "unknown"
}

// textOrBytes returns at most one of the two. For null it returns neither.
func textOrBytes(b []byte) (*string, []byte) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		s := string(b)
		return &s, nil
	}
	return nil, b
}

// fill makes the record that an envelope describes. It does not use partition and offset, which
// belong to the log from which the record came.
func (e *envelope) fill(r *kgo.Record) error {
	r.Topic = e.Topic
	r.Key, r.Value = bytesOf(e.Key, e.KeyBase64), bytesOf(e.Payload, e.PayloadBase64)
	if e.TS > 0 {
		r.Timestamp = time.UnixMilli(e.TS)
	}
	if len(e.Headers)%2 != 0 || len(e.HeadersBase64)%2 != 0 {
		return fmt.Errorf("headers: want name, value, name, value …, got %d", len(e.Headers)+len(e.HeadersBase64))
	}
	for i := 0; i < len(e.Headers); i += 2 {
		if e.Headers[i] == nil {
			return fmt.Errorf("header %d: its name is null", i/2)
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: *e.Headers[i], Value: bytesOf(e.Headers[i+1], nil)})
	}
	for i := 0; i < len(e.HeadersBase64); i += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(e.HeadersBase64[i]), Value: e.HeadersBase64[i+1]})
	}
	return nil
}

func bytesOf(s *string, b []byte) []byte {
	if s != nil {
		return []byte(*s)
	}
	return b
}

func (e envelope) line() ([]byte, error) {
	return toJSON(e, "")
}
