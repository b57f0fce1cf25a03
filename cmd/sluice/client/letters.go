package client

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// lettersHelp explains the format letters, which are kcat's.
const lettersHelp = `Format letters of -f, as in kcat:
  %s value            %S its length in bytes, -1 if it is null
  %k key              %K its length in bytes, -1 if it is null
  %h headers, as name=value,name=value
  %t topic            %p partition       %o offset
  %T timestamp, in milliseconds since 1970
  %R length of the value as 4 bytes, big-endian
  %% a percent sign   \n \r \t \\        \xNN the byte NN`

// piece is one part of a format: a letter, or text.
type piece struct {
	letter byte // 0 for text
	text   string
}

func (p piece) String() string {
	if p.letter == 0 {
		return strconv.Quote(p.text)
	}
	return "%" + string(p.letter)
}

const letters = "skhtpoTSKR"

// parseFormat reads a format. Adjacent texts become one piece.
func parseFormat(s string) ([]piece, error) {
	var pieces []piece
	text := func(t string) {
		if last := len(pieces) - 1; last >= 0 && pieces[last].letter == 0 {
			pieces[last].text += t
			return
		}
		pieces = append(pieces, piece{text: t})
	}
	for s != "" {
		switch {
		case s[0] == '\\':
			t, rest, err := cutEscape(s)
			if err != nil {
				return nil, err
			}
			text(t)
			s = rest
		case s[0] != '%':
			text(s[:1])
			s = s[1:]
		case len(s) > 1 && s[1] == '%':
			text("%")
			s = s[2:]
		case len(s) > 1 && strings.IndexByte(letters, s[1]) >= 0:
			pieces = append(pieces, piece{letter: s[1]})
			s = s[2:]
		default:
			return nil, fmt.Errorf("format: %q is no letter: known are %%%s and %%%%", s[:min(len(s), 2)], strings.Join(strings.Split(letters, ""), " %"))
		}
	}
	return pieces, nil
}

// cutEscape reads the escape at the start of s.
func cutEscape(s string) (text, rest string, err error) {
	if len(s) > 1 {
		if i := strings.IndexByte(`nrt\`, s[1]); i >= 0 {
			return "\n\r\t\\"[i : i+1], s[2:], nil
		}
		if s[1] == 'x' && len(s) > 3 {
			if n, err := strconv.ParseUint(s[2:4], 16, 8); err == nil {
				return string([]byte{byte(n)}), s[4:], nil
			}
		}
	}
	return "", "", fmt.Errorf(`%q is no escape: known are \n \r \t \\ \xNN`, s[:min(len(s), 4)])
}

// unescape reads a delimiter.
func unescape(s string) (string, error) {
	var out strings.Builder
	for s != "" {
		if s[0] != '\\' {
			out.WriteByte(s[0])
			s = s[1:]
			continue
		}
		t, rest, err := cutEscape(s)
		if err != nil {
			return "", err
		}
		out.WriteString(t)
		s = rest
	}
	return out.String(), nil
}

// appendRecord prints a record by a format. nullText stands for a null key or value.
func appendRecord(dst []byte, pieces []piece, r *kgo.Record, nullText string) []byte {
	for _, p := range pieces {
		switch p.letter {
		case 0:
			dst = append(dst, p.text...)
		case 's':
			dst = appendBytes(dst, r.Value, nullText)
		case 'k':
			dst = appendBytes(dst, r.Key, nullText)
		case 'h':
			dst = appendHeaders(dst, r.Headers)
		case 't':
			dst = append(dst, r.Topic...)
		case 'p':
			dst = strconv.AppendInt(dst, int64(r.Partition), 10)
		case 'o':
			dst = strconv.AppendInt(dst, r.Offset, 10)
		case 'T':
			dst = strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10)
		case 'S':
			dst = strconv.AppendInt(dst, length(r.Value), 10)
		case 'K':
			dst = strconv.AppendInt(dst, length(r.Key), 10)
		case 'R':
			dst = binary.BigEndian.AppendUint32(dst, uint32(length(r.Value)))
		}
	}
	return dst
}

func appendBytes(dst, b []byte, nullText string) []byte {
	if b == nil {
		return append(dst, nullText...)
	}
	return append(dst, b...)
}

func length(b []byte) int64 {
	if b == nil {
		return -1
	}
	return int64(len(b))
}

func appendHeaders(dst []byte, headers []kgo.RecordHeader) []byte {
	for i, h := range headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, h.Key...), '=')
		dst = appendBytes(dst, h.Value, "NULL")
	}
	return dst
}

// hasLetter reports whether a format has a letter.
func hasLetter(pieces []piece, letter byte) bool {
	return slices.ContainsFunc(pieces, func(p piece) bool { return p.letter == letter })
}
