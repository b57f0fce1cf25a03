package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is a frame that does not hold what its header says.
var ErrMalformed = errors.New("malformed request")

// Request header, big-endian, after the frame's 4-byte length:
//
//	0  2  apiKey
//	2  2  apiVersion
//	4  4  correlationId
//	8  2  clientId length   -1 null; never compact, also in header v2
//	10    clientId
//	      tagged fields     header v2 only: flexible versions
const (
	// FrameLengthBytes is the size of the length in front of each request and response.
	FrameLengthBytes = 4
	// RequestPrefixBytes is the size of what every request begins with: key, version, correlation
	// id.
	RequestPrefixBytes = 8
)

// RequestHeader is the part before the body of each request.
type RequestHeader struct {
	Key           int16
	Version       int16
	CorrelationID int32
	ClientID      string // "" if null
}

// ParseRequestPrefix reads key, version and correlation id, which are at the same place in every
// version of every API.
func ParseRequestPrefix(frame []byte) (RequestHeader, error) {
	if len(frame) < RequestPrefixBytes {
		return RequestHeader{}, fmt.Errorf("%w: %d bytes of header", ErrMalformed, len(frame))
	}
	return RequestHeader{
		Key:           int16(binary.BigEndian.Uint16(frame)),
		Version:       int16(binary.BigEndian.Uint16(frame[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(frame[4:])),
	}, nil
}

// ParseRequestHeader reads the header of a request whose API Sluice knows and
// returns the body, which aliases the frame.
func ParseRequestHeader(frame []byte) (RequestHeader, []byte, error) {
	h, err := ParseRequestPrefix(frame)
	if err != nil {
		return h, nil, err
	}
	w := walker{src: frame[RequestPrefixBytes:]}
	h.ClientID = string(w.nullableString(false))
	if Flexible(h.Key, h.Version) {
		w.tags()
	}
	if w.bad {
		return h, nil, fmt.Errorf("%w: header of api %d version %d", ErrMalformed, h.Key, h.Version)
	}
	return h, w.src, nil
}

// AppendResponseHeader appends header v0, or v1 for flexible versions. ApiVersions is always
// answered with v0, since its client does not know yet which versions we serve.
func AppendResponseHeader(dst []byte, key, version int16, correlationID int32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if key != apiVersionsKey && Flexible(key, version) {
		dst = append(dst, 0)
	}
	return dst
}
