package client

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordBytesMax bounds a key, a value or a line of the input.
const recordBytesMax = 128 << 20

// input reads records: as lines, by a format, or as JSON envelopes.
type input struct {
	in    *bufio.Reader
	count int // number of records that were read
	next  func(*input, *kgo.Record) error

	pieces    []piece // of a format
	delimiter string  // between records
	keyEnd    string  // between key and value, if not empty
	emptyNull bool    // -Z
}

func newInput(in io.Reader) *input {
	return &input{in: bufio.NewReaderSize(in, 64<<10), delimiter: "\n"}
}

// read returns the next record, or io.EOF after the last one.
func (i *input) read() (*kgo.Record, error) {
	r := &kgo.Record{Partition: -1}
	if err := i.next(i, r); err != nil {
		if err == io.EOF {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("record %d: %w", i.count+1, err)
	}
	i.count++
	if i.emptyNull {
		r.Key, r.Value = nullIfEmpty(r.Key), nullIfEmpty(r.Value)
	}
	return r, nil
}

func nullIfEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// line reads "value" or "key<K>value". A line without the key's delimiter has no key, as in kcat.
func (i *input) line(r *kgo.Record) error {
	line, whole, err := i.until(i.delimiter)
	if err != nil {
		return err
	}
	if !whole && len(line) == 0 {
		return io.EOF
	}
	r.Value = line
	if i.keyEnd != "" {
		if key, value, ok := bytes.Cut(line, []byte(i.keyEnd)); ok {
			r.Key, r.Value = nonNil(key), nonNil(value)
		}
	}
	return nil
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// until reads up to a delimiter and removes it. If the input ends without one, whole is false. The
// result belongs to the caller and is not nil.
func (i *input) until(delimiter string) (b []byte, whole bool, err error) {
	b = []byte{}
	last := delimiter[len(delimiter)-1]
	for {
		part, err := i.in.ReadSlice(last)
		b = append(b, part...)
		if head, ok := bytes.CutSuffix(b, []byte(delimiter)); ok && err == nil {
			return head, true, nil
		}
		if len(b) > recordBytesMax {
			return nil, false, fmt.Errorf("more than %d bytes without %q", recordBytesMax, delimiter)
		}
		switch {
		case err == io.EOF:
			return b, false, nil
		case err != nil && err != bufio.ErrBufferFull:
			return nil, false, err
		}
	}
}

// inputFormat checks that a format can be read back: a piece without a length of its own needs text
// after it. If a format does not end with text, the delimiter of records is added.
func inputFormat(pieces []piece, delimiter string) ([]piece, error) {
	if len(pieces) == 0 || !hasLetter(pieces, 's') && !hasLetter(pieces, 'k') {
		return nil, errors.New("format: it has neither %s nor %k, so there is nothing to send")
	}
	for i, p := range pieces {
		if open := openEnded(pieces, i); !open {
			continue
		}
		if i == len(pieces)-1 {
			return append(pieces, piece{text: delimiter}), nil
		}
		if next := pieces[i+1]; next.letter != 0 {
			return nil, fmt.Errorf("format: %v and %v need text between them, to tell where the first one ends", p, next)
		}
	}
	return pieces, nil
}

// openEnded reports that a piece extends to the text after it. That holds for all letters except
// those with a length before them.
func openEnded(pieces []piece, i int) bool {
	switch pieces[i].letter {
	case 0, 'R':
		return false
	case 's':
		return !hasLetter(pieces[:i], 'S') && !hasLetter(pieces[:i], 'R')
	case 'k':
		return !hasLetter(pieces[:i], 'K')
	}
	return true
}

// lengthUnknown means that no length was read for a key or value.
const lengthUnknown = -2

// formatted reads a record by a format. The last text may be missing at the end of the input.
func (i *input) formatted(r *kgo.Record) error {
	keyLen, valueLen := int64(lengthUnknown), int64(lengthUnknown)
	for n := 0; n < len(i.pieces); n++ {
		p := i.pieces[n]
		var err error
		switch {
		case p.letter == 0:
			err = i.expect(p.text, n == 0, n == len(i.pieces)-1)
		case p.letter == 'R':
			valueLen, err = i.binaryLength(n == 0)
		case p.letter == 'k' && keyLen != lengthUnknown:
			r.Key, err = i.exactly(keyLen)
		case p.letter == 's' && valueLen != lengthUnknown:
			r.Value, err = i.exactly(valueLen)
		default:
			var b []byte
			if b, err = i.field(n); err == nil {
				err = setField(r, p.letter, b, &keyLen, &valueLen)
			}
			n++ // the text after it was read
		}
		if err != nil {
			return atPiece(p, err)
		}
	}
	return nil
}

// atPiece names the piece in an error. The end of the input before a record is not an error of the
// piece.
func atPiece(p piece, err error) error {
	if err == io.EOF {
		return err
	}
	return fmt.Errorf("%v: %w", p, err)
}

// field reads an open-ended piece and the text after it.
func (i *input) field(n int) ([]byte, error) {
	end := i.pieces[n+1].text
	b, whole, err := i.until(end)
	switch {
	case err != nil:
		return nil, err
	case !whole && n == 0 && len(b) == 0:
		return nil, io.EOF
	case !whole && n+1 < len(i.pieces)-1:
		return nil, fmt.Errorf("the input ends before %q", end)
	}
	return b, nil
}

func setField(r *kgo.Record, letter byte, b []byte, keyLen, valueLen *int64) error {
	switch letter {
	case 's':
		r.Value = b
		return nil
	case 'k':
		r.Key = b
		return nil
	case 't':
		r.Topic = string(b)
		return nil
	case 'h':
		var err error
		r.Headers, err = parseHeaders(string(b))
		return err
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("%q is no number", b)
	}
	switch letter {
	case 'K':
		*keyLen = n
	case 'S':
		*valueLen = n
	case 'T':
		r.Timestamp = time.UnixMilli(n)
	case 'p':
		if n < 0 || n > 1<<31-1 {
			return fmt.Errorf("%d is no partition", n)
		}
		r.Partition = int32(n)
	case 'o': // the log gives offsets
	}
	return nil
}

// expect reads a text of the format.
func (i *input) expect(text string, first, last bool) error {
	got := make([]byte, len(text))
	n, err := io.ReadFull(i.in, got)
	switch {
	case err == io.EOF && (first || last):
		if first && !last {
			return io.EOF
		}
		return nil
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return errors.New("the input ends")
	case err != nil:
		return err
	case string(got[:n]) != text:
		return fmt.Errorf("found %q", got)
	}
	return nil
}

func (i *input) binaryLength(first bool) (int64, error) {
	var b [4]byte
	if _, err := io.ReadFull(i.in, b[:]); err == io.EOF && first {
		return 0, io.EOF
	} else if err != nil {
		return 0, errors.New("the input ends")
	}
	return int64(int32(binary.BigEndian.Uint32(b[:]))), nil
}

// exactly reads n bytes. -1 is null.
func (i *input) exactly(n int64) ([]byte, error) {
	switch {
	case n == -1:
		return nil, nil
	case n < 0 || n > recordBytesMax:
		return nil, fmt.Errorf("a length of %d: want -1 to %d", n, recordBytesMax)
	}
	// Grows with the bytes that are there, not with the claimed length.
	b, err := io.ReadAll(io.LimitReader(i.in, n))
	if err == nil && int64(len(b)) < n {
		err = fmt.Errorf("the input ends after %d of %d bytes", len(b), n)
	}
	return nonNil(b), err
}

// parseHeaders reads name=value,name=value. NULL is null, as it is printed.
func parseHeaders(s string) ([]kgo.RecordHeader, error) {
	var headers []kgo.RecordHeader
	for s != "" {
		one, rest, _ := strings.Cut(s, ",")
		h, err := parseHeader(strings.TrimSuffix(one, "=NULL"))
		if err != nil {
			return nil, err
		}
		headers, s = append(headers, h), rest
	}
	return headers, nil
}

// parseHeader reads "name=value". Without a "=" the value is null.
func parseHeader(s string) (kgo.RecordHeader, error) {
	name, value, ok := strings.Cut(s, "=")
	if name == "" {
		return kgo.RecordHeader{}, fmt.Errorf("header %q: want NAME=VALUE, or NAME for a null value", s)
	}
	if !ok {
		return kgo.RecordHeader{Key: name}, nil
	}
	return kgo.RecordHeader{Key: name, Value: []byte(value)}, nil
}

// enveloped reads one JSON envelope per line (envelope.go).
func (i *input) enveloped(r *kgo.Record) error {
	for {
		line, whole, err := i.until("\n")
		if err != nil {
			return err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			var e envelope
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("no JSON envelope: %w", err)
			}
			return e.fill(r)
		}
		if !whole {
			return io.EOF
		}
	}
}
