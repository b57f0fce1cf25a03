package compat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicemq/sluice/compat-tests/beside"
	"github.com/sluicemq/sluice/compat-tests/harness"
)

// The beside_*_test.go files ask Sluice and Apache Kafka the same: every API at every version that
// Sluice lists, with good and bad requests, step by step on the same state. The answers are
// compared field by field. Every difference has its row in docs/differences.md.

// step is one request of a script, asked at every version that is listed. Steps of all APIs share
// their brokers, so anything that a step changes has a name of its own.
type step struct {
	name string // as in the rows of docs/differences.md
	ask  func(s *side, v int16) kmsg.Request

	// Versions at which the step makes sense; to 0 is up to the highest.
	from, to int16
	prep     func(s *side, v int16) // makes the state that the step needs
	// after remembers what later steps need. It is not called without an answer.
	after func(s *side, resp kmsg.Response)
	conn  string // the client that asks, by its client id; "" is compat-tests
	// also is a client whose request prep has sent. Its answer is compared, too.
	also   string
	mute   bool // Apache Kafka never answers; the wait for the answer is short
	silent bool // no answer is due; the next request shows that
}

// script is all that is asked of one API.
type script struct {
	key   int16
	steps []step
}

// besideScripts are the scripts in the order in which they are played.
var besideScripts = slices.Concat(besideLog, besideTopics, besideConfigs, besideGroups, besideCluster)

// side is one of the two brokers, as the scripts know it.
type side struct {
	t      testing.TB
	addr   string
	topics map[string]topicRef
	names  beside.Side
	conns  map[string]*wire
	sent   map[string]kmsg.Request // what prep has sent, by client
	ids    map[string]string       // member ids, by group
}

func newSide(t testing.TB, addr string) *side {
	return &side{t: t, addr: addr, topics: map[string]topicRef{}, conns: map[string]*wire{}, sent: map[string]kmsg.Request{},
		ids: map[string]string{}, names: beside.Side{Addr: addr, Topics: map[[16]byte]string{}}}
}

// topic creates a topic that scripts know by its name.
func (s *side) topic(name string, partitions int32, configs ...string) topicRef {
	ref := mustCreate(s.t, s.addr, name, partitions, configs...)
	s.topics[name], s.names.Topics[ref.id] = ref, name
	return ref
}

// client returns the connection of a client, and dials it again if it was closed.
func (s *side) client(id string) *wire {
	if id == "" {
		id = "compat-tests"
	}
	if s.conns[id] == nil {
		s.conns[id] = dialWire(s.t, s.addr)
		s.conns[id].client = id
	}
	return s.conns[id]
}

func (s *side) hangUp(id string) {
	if id == "" {
		id = "compat-tests"
	}
	if w := s.conns[id]; w != nil {
		w.nc.Close()
		delete(s.conns, id)
	}
}

// send sends a request whose answer a step compares, too.
func (s *side) send(client string, req kmsg.Request, v int16) {
	s.client(client).send(req, v)
	s.sent[client] = req
}

// do sends a request only for its effect on the state.
func (s *side) do(req kmsg.Request, v int16) kmsg.Response {
	s.t.Helper()
	return s.client("prep").do(req, v)
}

// until repeats until ok holds.
func (s *side) until(what string, ok func() bool) {
	s.t.Helper()
	err := harness.Until(wireLimit, func() error {
		if !ok() {
			return errors.New(what)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// play plays one step at one version and returns the answer in the form in which it is compared.
func (s *side) play(st step, v int16) *beside.Node {
	s.t.Helper()
	if st.prep != nil {
		st.prep(s, v)
	}
	w := s.client(st.conn)
	var req kmsg.Request
	switch {
	case st.silent:
		w.send(st.ask(s, v), v)
		req = kmsg.NewPtrApiVersionsRequest()
		w.send(req, 0)
	default:
		req = st.ask(s, v)
		w.send(req, v)
	}
	limit := wireLimit
	if st.mute {
		limit = muteLimit
	}
	resp, same, err := w.answer(req, limit)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.hangUp(st.conn)
		return beside.Answer("none")
	case err != nil:
		s.hangUp(st.conn)
		return beside.Answer("connection closed")
	case resp == nil:
		s.hangUp(st.conn)
		return beside.Answer("unreadable")
	case st.silent:
		return beside.Answer("none, connection open")
	}
	if st.after != nil {
		st.after(s, resp)
	}
	tree := s.names.Tree(resp)
	if st.also != "" {
		second, _, err := s.client(st.also).answer(s.sent[st.also], wireLimit)
		if err != nil || second == nil {
			return beside.Answer(fmt.Sprintf("none to %s: %v", st.also, err))
		}
		also := s.names.Tree(second)
		also.Name = "Also"
		tree.Children = append(tree.Children, also)
	}
	if !same {
		tree.Children = append(tree.Children, &beside.Node{Name: "bytes", Value: "not those of this version"})
	}
	return tree
}

// muteLimit is how long to wait for an answer that Apache Kafka does not give.
const muteLimit = 2 * time.Second

// answer reads the next answer, or returns none if kmsg cannot read it. same says that its bytes
// are those that kmsg would write, with fields, nulls and tags as they must be.
func (w *wire) answer(req kmsg.Request, limit time.Duration) (resp kmsg.Response, same bool, err error) {
	if err := w.nc.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, false, err
	}
	body, err := readAnswer(w.nc)
	if err != nil {
		return nil, false, err
	}
	if len(body) < 4 || int32(binary.BigEndian.Uint32(body)) != w.next {
		return nil, false, nil
	}
	body = body[4:]
	if req.IsFlexible() && req.Key() != 18 {
		if len(body) == 0 || body[0] != 0 {
			return nil, false, nil
		}
		body = body[1:]
	}
	resp = req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	// UNSUPPORTED_VERSION has the layout of version 0.
	if req.Key() == 18 && len(body) > 1 && binary.BigEndian.Uint16(body) == 35 {
		resp.SetVersion(0)
	}
	if resp.ReadFrom(body) != nil {
		return nil, false, nil
	}
	return resp, bytes.Equal(resp.AppendTo(nil), body), nil
}

// listed returns the versions that a broker lists.
func listed(t testing.TB, addr string) map[int16][2]int16 {
	t.Helper()
	list := make(map[int16][2]int16)
	w := dialWire(t, addr)
	defer w.nc.Close()
	for _, k := range w.do(kmsg.NewPtrApiVersionsRequest(), 0).(*kmsg.ApiVersionsResponse).ApiKeys {
		list[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
	}
	return list
}

// played are the answers of a whole run, in the order of the scripts.
type played struct {
	key     int16
	version int16
	step    string
	answer  *beside.Node
}

func (s *side) playAll(scripts []script, versions map[int16][2]int16) []played {
	s.t.Helper()
	var list []played
	for _, sc := range scripts {
		r, ok := versions[sc.key]
		if !ok {
			continue
		}
		for _, st := range sc.steps {
			for v := max(r[0], st.from); v <= r[1] && (st.to == 0 || v <= st.to); v++ {
				start := time.Now()
				list = append(list, played{sc.key, v, st.name, s.play(st, v)})
				if took := time.Since(start); took > time.Second {
					s.t.Logf("%s: %s v%d, %s took %v", s.addr, kmsg.NameForKey(sc.key), v, st.name, took.Round(time.Millisecond))
				}
			}
		}
	}
	return list
}

// TestBeside: Sluice answers as Apache Kafka does, except for the differences in
// docs/differences.md, and every one of those is found.
func TestBeside(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "docs", "differences.md"))
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := beside.Parse(string(page))
	if err != nil {
		t.Fatalf("docs/differences.md: %v", err)
	}
	kafka := harness.Kafka(t, harness.Config{Dir: t.TempDir(), Properties: map[string]string{"group.initial.rebalance.delay.ms": "0"}})
	if err := kafka.Launch(); err != nil { // the JVM takes a while
		t.Fatal(err)
	}
	ours := startSluice(t)
	versions := listed(t, ours.Addr)
	wantScripts(t, versions)
	// It holds the name of an API while a script for it is written.
	if only := os.Getenv("SLUICE_BESIDE"); only != "" {
		versions = map[int16][2]int16{}
		for key, r := range listed(t, ours.Addr) {
			if strings.Contains(kmsg.NameForKey(key), only) {
				versions[key] = r
			}
		}
	}
	here := playOn(t, ours.Addr, versions)
	if err := kafka.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	there := playOn(t, kafka.Addr, versions)
	compareAnswers(t, allowed, here, there)
}

func playOn(t *testing.T, addr string, versions map[int16][2]int16) []played {
	t.Helper()
	s := newSide(t, addr)
	besideState(s)
	start := time.Now()
	list := s.playAll(besideScripts, versions)
	t.Logf("%s: %d answers in %v", addr, len(list), time.Since(start).Round(time.Millisecond))
	return list
}

// wantScripts requires that every API is asked at each of its versions.
func wantScripts(t *testing.T, versions map[int16][2]int16) {
	t.Helper()
	for key, r := range versions {
		i := slices.IndexFunc(besideScripts, func(sc script) bool { return sc.key == key })
		if i < 0 {
			t.Errorf("%s is served and has no script", kmsg.NameForKey(key))
			continue
		}
		for v := r[0]; v <= r[1]; v++ {
			n := 0
			for _, st := range besideScripts[i].steps {
				if st.from <= v && (st.to == 0 || v <= st.to) {
					n++
				}
			}
			if n < 2 {
				t.Errorf("%s version %d is asked %d times, want it asked well and badly", kmsg.NameForKey(key), v, n)
			}
		}
	}
}

// compareAnswers reports what differs without being allowed to, the versions of a step together.
func compareAnswers(t *testing.T, allowed beside.List, here, there []played) {
	t.Helper()
	var order []string
	at := make(map[string][]int16)
	for i := range here {
		e := beside.Exchange{API: kmsg.NameForKey(here[i].key), Version: here[i].version, Step: here[i].step,
			Differences: beside.Diff(here[i].answer, there[i].answer)}
		for _, d := range allowed.Unexplained(e) {
			line := fmt.Sprintf("%s, %s: %s", e.API, e.Step, d)
			// Names that every version has for itself.
			line = strings.ReplaceAll(line, fmt.Sprintf("-%d", e.Version), "-#")
			if at[line] == nil {
				order = append(order, line)
			}
			at[line] = append(at[line], e.Version)
		}
	}
	for _, line := range order {
		t.Errorf("%s (versions %v)", line, at[line])
	}
	if os.Getenv("SLUICE_BESIDE") != "" {
		return
	}
	for _, idle := range allowed.Idle() {
		t.Errorf("docs/differences.md says what is not so (any more): %s", idle)
	}
}
