package client

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// offsetLine is a line of a file of offsets.
type offsetLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// parseOffsets reads a file of offsets, in either form.
func parseOffsets(b []byte) (map[partition]int64, error) {
	lines, err := parseCSV(b)
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '[' {
		lines, err = parseJSON(trimmed)
	}
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, errors.New("it names no partition")
	}
	offsets := make(map[partition]int64, len(lines))
	for _, l := range lines {
		p := partition{l.Topic, l.Partition}
		if _, twice := offsets[p]; twice {
			return nil, fmt.Errorf("%v is named twice", p)
		}
		if l.Topic == "" || l.Partition < 0 || l.Offset < 0 {
			return nil, fmt.Errorf("%v at %d: want a topic, and numbers of zero or more", p, l.Offset)
		}
		offsets[p] = l.Offset
	}
	return offsets, nil
}

func parseJSON(b []byte) (lines []offsetLine, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&lines); err != nil {
		return nil, fmt.Errorf(`want [{"topic":"t","partition":0,"offset":7}]: %w`, err)
	}
	return lines, nil
}

func parseCSV(b []byte) (lines []offsetLine, err error) {
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord = 3
	for {
		fields, err := r.Read()
		if err == io.EOF {
			return lines, nil
		}
		line, _ := 0, 0
		if len(fields) > 0 {
			line, _ = r.FieldPos(0)
		}
		if err != nil {
			return nil, fmt.Errorf("want lines of topic,partition,offset: %w", err)
		}
		number, err1 := strconv.ParseInt(fields[1], 10, 32)
		offset, err2 := strconv.ParseInt(fields[2], 10, 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("line %d: want topic,partition,offset, got %q", line, fields)
		}
		lines = append(lines, offsetLine{fields[0], int32(number), offset})
	}
}
