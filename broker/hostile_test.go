package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// hostile makes requests that belong to their API and version, and may hold anything else.
type hostile struct {
	*rand.Rand
	batch []byte // a good batch
}

// Some names mean something to the broker, and others must not.
var hostileNames = []string{"t", "g", "", "1", "retention.ms", "__consumer_offsets", "consumer", "range", "i", "a b", "\x00\xff", string(make([]byte, 300))}

var hostileNumbers = []int64{0, 1, -1, 2, -2, 7, 10, 60_000, math.MaxInt8, math.MinInt8, math.MaxInt16, math.MinInt16, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}

// fill sets every field below v.
func (h hostile) fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Version" && f.Name != "UnknownTags" {
				h.fill(v.Field(i), depth+1)
			}
		}
		if tags := v.FieldByName("UnknownTags"); tags.IsValid() && h.IntN(8) == 0 {
			tags.Addr().Interface().(*kmsg.Tags).Set(uint32(1000+h.IntN(5)), []byte("unknown"))
		}
	case reflect.Pointer:
		if h.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			h.fill(v.Elem(), depth)
		}
	case reflect.Slice:
		h.list(v, depth)
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf([]byte(fmt.Sprintf("topic-%010d", h.IntN(3)))))
	case reflect.String:
		v.SetString(hostileNames[h.IntN(len(hostileNames))])
	case reflect.Bool:
		v.SetBool(h.IntN(2) == 0)
	case reflect.Float64:
		v.SetFloat(float64(h.IntN(9)))
	default:
		v.SetInt(hostileNumbers[h.IntN(len(hostileNumbers))])
	}
}

func (h hostile) list(v reflect.Value, depth int) {
	n := []int{0, 1, 1, 2, 3, 40}[h.IntN(6)]
	switch {
	case h.IntN(6) == 0:
		return // null
	case v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes(h.blob(n))
		return
	case depth > 4:
		n = min(n, 3)
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		h.fill(v.Index(i), depth+1)
	}
}

// blob returns bytes for a field: a batch, a member's metadata, or noise.
func (h hostile) blob(n int) []byte {
	switch h.IntN(3) {
	case 0:
		b := slices.Clone(h.batch)
		if h.IntN(2) == 0 {
			b[h.IntN(len(b))] ^= byte(1 << h.IntN(8))
			recrc(b)
		}
		return b
	case 1:
		m := kmsg.NewConsumerMemberMetadata()
		m.Topics = []string{"t"}
		return m.AppendTo(nil)
	}
	b := make([]byte, n*50)
	for i := range b {
		b[i] = byte(h.Uint32())
	}
	return b
}

// mutate damages a frame behind its length, key and version.
func (h hostile) mutate(frame []byte) []byte {
	const begin = protocol.FrameLengthBytes + 4
	for range 1 + h.IntN(3) {
		if len(frame) <= begin+4 {
			break
		}
		at := begin + h.IntN(len(frame)-begin-4)
		switch h.IntN(5) {
		case 0:
			frame[at] ^= byte(1 << h.IntN(8))
		case 1: // a number, a length or a count
			binary.BigEndian.PutUint32(frame[at:], uint32(hostileNumbers[h.IntN(len(hostileNumbers))]))
		case 2: // a varint with a huge value
			copy(frame[at:], []byte{0xff, 0xff, 0xff, 0x7f})
		case 3:
			frame = frame[:at]
		case 4:
			frame = slices.Insert(frame, at, h.blob(1)...)
		}
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-protocol.FrameLengthBytes))
	return frame
}

// hostileBytes is the number of bytes that may be allocated for a request, whatever it says: enough
// to answer all of its elements, and some more for topics that it creates.
func hostileBytes(frame int) uint64 { return 1<<20 + uint64(frame)*256 }

// TestHostileRequests sends requests of every API and version, whole and damaged. Each is answered
// in its own shape, or its connection is closed. None costs more than its size explains. The broker
// serves the next one, and its budgets are whole. SLUICE_SEED plays one seed again; SLUICE_LONG=1
// plays many.
func TestHostileRequests(t *testing.T) {
	seed, rounds := uint64(time.Now().UnixNano()), 8
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	if os.Getenv("SLUICE_LONG") != "" {
		rounds = 500
	}
	fmt.Printf("SLUICE_SEED=%d\n", seed) // a panic of the broker would swallow the test's log
	for _, key := range slices.Sorted(mapsKeys()) {
		t.Run(apis[key].name, func(t *testing.T) {
			h := hostile{rand.New(rand.NewPCG(seed, uint64(key))), plainBatch(t, "v")}
			virtually(t, hostileConfig(), func(t *testing.T, b *harness, dial func() *rawClient) {
				b.topics.create(t, "t", 2, nil)
				if _, err := b.groups.Find(t.Context(), "g"); err != nil {
					t.Fatal(err)
				}
				for range rounds {
					for version := apis[key].versions.low; version <= apis[key].versions.high; version++ {
						h.attack(t, b, dial, key, version)
					}
				}
			})
		})
	}
}

func hostileConfig() Config {
	return Config{Groups: coordinator.Config{Partitions: 1, InitialRebalanceDelay: -1}}
}

func mapsKeys() func(func(int16) bool) {
	return func(yield func(int16) bool) {
		for k := range apis {
			if !yield(k) {
				return
			}
		}
	}
}

// attack sends one whole request and one damaged one.
func (h hostile) attack(t *testing.T, b *harness, dial func() *rawClient, key, version int16) {
	t.Helper()
	req := kmsg.RequestForKey(key)
	h.fill(reflect.ValueOf(req).Elem(), 0)
	req.SetVersion(version)
	frame := requestFrame(req, 77, hostileNames[h.IntN(len(hostileNames))])
	h.strike(t, b, dial(), req, frame)
	h.strike(t, b, dial(), req, h.mutate(slices.Clone(frame)))
}

func (h hostile) strike(t *testing.T, b *harness, c *rawClient, req kmsg.Request, frame []byte) {
	t.Helper()
	before := allocated()
	c.write(frame)
	answered := c.hostileAnswer(t, req, frame)
	if used := allocated() - before; used > hostileBytes(len(frame)) {
		t.Errorf("%s: %d bytes allocated for a frame of %d:\n%x", name(req, req.GetVersion()), used, len(frame), frame[:min(len(frame), 2000)])
	}
	if answered { // the connection goes on
		ask[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest(), 0)
	}
	_ = c.nc.Close()
	synctest.Wait()
	if b.wantBudgetsWhole(t); t.Failed() {
		t.Fatalf("%s:\n%x", name(req, req.GetVersion()), frame)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// hostileAnswer reads the broker's answer, if there is one. Time is virtual.
func (c *rawClient) hostileAnswer(t *testing.T, req kmsg.Request, frame []byte) bool {
	t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Hour)) // fails if the connection is closed already
	_, body, err := c.frame()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if req.Key() != 0 {
			t.Errorf("%s: neither an answer nor an end within an hour:\n%x", name(req, req.GetVersion()), frame)
		}
		return false
	case err != nil:
		return false
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if req.IsFlexible() && req.Key() != apiVersionsKey {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		t.Errorf("%s: answered with what is none: %v\nrequest %x\nanswer %x", name(req, req.GetVersion()), err, frame, body)
	}
	return true
}

// repeating returns requests that name one thing n times. The thing behind the name is large.
func repeating(n int) []kmsg.Request {
	topics, groups, offsets := kmsg.NewPtrMetadataRequest(), kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrOffsetFetchRequest()
	configs, described, dirs := kmsg.NewPtrDescribeConfigsRequest(), kmsg.NewPtrDescribeTopicPartitionsRequest(), kmsg.NewPtrDescribeLogDirsRequest()
	coordinators, fetch := kmsg.NewPtrFindCoordinatorRequest(), fetchRequest("t", 0, 0, 0)
	fetch.Topics = nil
	for range n {
		topics.Topics = append(topics.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("t")})
		groups.Groups = append(groups.Groups, "g")
		offsets.Groups = append(offsets.Groups, kmsg.OffsetFetchRequestGroup{Group: "g"})
		configs.Resources = append(configs.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: 2, ResourceName: "t"})
		described.Topics = append(described.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: "t"})
		dirs.Topics = append(dirs.Topics, kmsg.DescribeLogDirsRequestTopic{Topic: "t", Partitions: []int32{0}})
		coordinators.CoordinatorKeys = append(coordinators.CoordinatorKeys, "g")
		fetch.Topics = append(fetch.Topics, fetchRequest("t", 0, 0, 0).Topics...)
	}
	return []kmsg.Request{topics, groups, offsets, configs, described, dirs, coordinators, fetch}
}

// TestRepeatedNames: an answer does not grow out of all proportion when one name is repeated. A
// request that repeats it for 8 MiB must not make gigabytes.
func TestRepeatedNames(t *testing.T) {
	const count, perNameMax = 1000, 100
	virtually(t, hostileConfig(), func(t *testing.T, b *harness, dial func() *rawClient) {
		b.topics.create(t, "t", 500, nil)
		fillGroup(t, dial(), "g", 500)
		once, often := repeating(1), repeating(count)
		for i := range once {
			size := func(req kmsg.Request) int {
				c := dial()
				c.send(req, apis[req.Key()].versions.high)
				_, body, err := c.frame()
				if err != nil {
					t.Errorf("%s: %v", name(req, req.GetVersion()), err)
				}
				return len(body)
			}
			if one, many := size(once[i]), size(often[i]); one == 0 || many > one+count*perNameMax {
				t.Errorf("%s: %d bytes for a name, %d for it %d times", name(once[i], once[i].GetVersion()), one, many, count)
			}
		}
	})
}

// fillGroup commits the offsets of many partitions.
func fillGroup(t *testing.T, c *rawClient, group string, partitions int32) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic = "t"
	for i := range partitions {
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset = i, 5
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKey = group
	ask[*kmsg.FindCoordinatorResponse](c, find, 3)
	wantCode(t, "commit", ask[*kmsg.OffsetCommitResponse](c, req, 8).Topics[0].Partitions[0].ErrorCode, 0)
}
