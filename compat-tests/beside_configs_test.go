package compat

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var besideConfigs = []script{
	{32, besideDescribeConfigs}, {33, besideAlterConfigs}, {44, besideIncremental},
	// The configs that are set while brokers run, and removed again.
	{33, besideReplaceRunning}, {44, besideSetRunning}, {32, besideDescribeRunning}, {44, besideUnsetRunning},
}

// whileRunning are keys that change while brokers run. allBrokers is the name for all brokers.
var whileRunning = []string{"message.max.bytes", "log.retention.ms", "log.cleanup.policy", "log.retention.hours"}

const allBrokers = ""

var besideReplaceRunning = []step{
	altered("the broker, while it runs", brokerKind, "1", []pair{kv("log.retention.bytes", "5000000000"), kv("message.max.bytes", "3000000")}),
	altered("the broker, a value of null", brokerKind, "1", []pair{{"message.max.bytes", nil}}),
	altered("the broker, a bad value", brokerKind, "1", []pair{kv("message.max.bytes", "many")}),
	altered("the broker, a key twice", brokerKind, "1", []pair{kv("message.max.bytes", "3000000"), kv("message.max.bytes", "2000000")}),
	altered("the broker, nothing", brokerKind, "1", nil),
}

var besideSetRunning = []step{
	changed("set on the broker", brokerKind, "1", one(opSet, kv("message.max.bytes", "2000000"))),
	changed("set on all brokers", brokerKind, allBrokers, []change{{opSet, kv("log.retention.ms", "500000000")}, {opSet, kv("message.max.bytes", "1500000")}}),
	changed("append to a list of the broker", brokerKind, "1", one(opAppend, kv("log.cleanup.policy", "delete"))),
	changed("append to what is no list of the broker", brokerKind, "1", one(opAppend, kv("message.max.bytes", "5"))),
	changed("subtract from a list of all brokers", brokerKind, allBrokers, one(opSubtract, kv("log.cleanup.policy", "compact"))),
	changed("a bad value on the broker", brokerKind, "1", one(opSet, kv("message.max.bytes", "many"))),
	changed("a bad value on all brokers", brokerKind, allBrokers, one(opSet, kv("message.max.bytes", "many"))),
	changed("out of range on the broker", brokerKind, "1", one(opSet, kv("message.max.bytes", "-1"))),
	changed("out of range on all brokers", brokerKind, allBrokers, one(opSet, kv("max.connections", "-1"))),
	changed("no connections on the broker", brokerKind, "1", one(opSet, kv("max.connections", "0"))),
	changed("no retention on the broker", brokerKind, "1", one(opSet, kv("log.retention.ms", "0"))),
	changed("a bad element on the broker", brokerKind, "1", one(opSet, kv("log.cleanup.policy", "burn"))),
	changed("null on the broker", brokerKind, "1", one(opSet, pair{"message.max.bytes", nil})),
	changed("a key of all brokers that is read-only", brokerKind, allBrokers, one(opSet, kv("num.partitions", "3"))),
	changed("a coarser key of the broker", brokerKind, "1", one(opSet, kv("log.retention.hours", "3"))),
	changed("a key of the broker twice", brokerKind, "1", []change{{opSet, kv("message.max.bytes", "5000")}, {opDelete, pair{"message.max.bytes", nil}}}),
	changed("delete on the broker what is not set", brokerKind, "1", one(opDelete, pair{"log.segment.bytes", nil})),
	changed("delete on the broker what is none", brokerKind, "1", one(opDelete, pair{"no.such", nil})),
}

var besideDescribeRunning = []step{
	describedConfigs("the broker, what was set", brokerKind, "1", whileRunning, allOfIt),
	describedConfigs("all brokers, what was set", brokerKind, allBrokers, whileRunning, allOfIt),
	describedConfigs("a topic, of what was set", topicKind, "described", []string{"max.message.bytes", "retention.ms", "cleanup.policy"}, allOfIt),
}

var besideUnsetRunning = []step{
	changed("no longer on the broker", brokerKind, "1", []change{{opDelete, pair{"message.max.bytes", nil}}, {opDelete, pair{"log.cleanup.policy", nil}}}),
	changed("no longer on all brokers", brokerKind, allBrokers, []change{{opDelete, pair{"message.max.bytes", nil}},
		{opDelete, pair{"log.retention.ms", nil}}, {opDelete, pair{"log.cleanup.policy", nil}}}),
}

// The kinds of resources.
const (
	topicKind    = kmsg.ConfigResourceType(2)
	brokerKind   = kmsg.ConfigResourceType(4)
	loggerKind   = kmsg.ConfigResourceType(8)
	metricsKind  = kmsg.ConfigResourceType(16)
	groupKind    = kmsg.ConfigResourceType(32)
	unknownKind  = kmsg.ConfigResourceType(0)
	nonsenseKind = kmsg.ConfigResourceType(99)
)

func describedConfigs(name string, kind kmsg.ConfigResourceType, resource string, keys []string, edits ...func(*kmsg.DescribeConfigsRequest)) step {
	return step{name: name, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: resource, ConfigNames: keys}}
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
}

func allOfIt(r *kmsg.DescribeConfigsRequest) { r.IncludeSynonyms, r.IncludeDocumentation = true, true }

var besideDescribeConfigs = []step{
	describedConfigs("a topic", topicKind, "described", nil),
	describedConfigs("a topic, all about it", topicKind, "described", nil, allOfIt),
	describedConfigs("two keys", topicKind, "described", []string{"retention.ms", "cleanup.policy"}),
	describedConfigs("a key that is none", topicKind, "described", []string{"no.such", "retention.ms"}),
	describedConfigs("no keys", topicKind, "described", []string{}),
	describedConfigs("a topic that is none", topicKind, "nowhere", nil),
	describedConfigs("a topic without a name", topicKind, "", nil),
	describedConfigs("a bad name", topicKind, "a b", nil),
	describedConfigs("the broker", brokerKind, "1", nil),
	describedConfigs("the broker, all about it", brokerKind, "1", nil, allOfIt),
	describedConfigs("keys of the broker", brokerKind, "1", []string{"num.partitions", "log.retention.hours", "message.max.bytes"}, allOfIt),
	describedConfigs("another broker", brokerKind, "7", nil),
	describedConfigs("a broker without a number", brokerKind, "one", nil),
	describedConfigs("all brokers", brokerKind, "", nil),
	describedConfigs("loggers of the broker", loggerKind, "1", []string{"no.such"}),
	describedConfigs("loggers of another broker", loggerKind, "7", nil),
	describedConfigs("loggers without a broker", loggerKind, "", nil),
	describedConfigs("client metrics", metricsKind, "some", nil),
	describedConfigs("client metrics without a name", metricsKind, "", nil),
	describedConfigs("a group", groupKind, "some", nil),
	describedConfigs("a group without a name", groupKind, "", nil),
	describedConfigs("kind 0", unknownKind, "x", nil),
	describedConfigs("a kind that is none", nonsenseKind, "x", nil),
	describedConfigs("nothing", topicKind, "x", nil, func(r *kmsg.DescribeConfigsRequest) { r.Resources = nil }),
	describedConfigs("a topic twice", topicKind, "described", []string{"retention.ms"}, func(r *kmsg.DescribeConfigsRequest) {
		r.Resources = append(r.Resources, r.Resources[0])
	}),
	describedConfigs("all of a topic twice", topicKind, "described", nil, func(r *kmsg.DescribeConfigsRequest) {
		r.Resources = append(r.Resources, r.Resources[0])
	}),
	describedConfigs("one good, one bad", topicKind, "described", []string{"retention.ms"}, func(r *kmsg.DescribeConfigsRequest) {
		r.Resources = append(r.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: topicKind, ResourceName: "nowhere"})
	}),
}

// pair is a key and its value. nil is null.
type pair struct {
	key   string
	value *string
}

func kv(key, value string) pair { return pair{key, &value} }

// altered makes a step that sets all configs of a resource. "" is a topic of the step's own.
func altered(name string, kind kmsg.ConfigResourceType, resource string, pairs []pair, edits ...func(*kmsg.AlterConfigsRequest)) step {
	own := "altered-" + strings.ReplaceAll(name, " ", "-")
	st := step{name: name, ask: func(_ *side, v int16) kmsg.Request {
		req := kmsg.NewPtrAlterConfigsRequest()
		rr := kmsg.AlterConfigsRequestResource{ResourceType: kind, ResourceName: resource}
		if resource == ownTopic {
			rr.ResourceName = fmt.Sprintf("%s-%d", own, v)
		}
		for _, p := range pairs {
			rr.Configs = append(rr.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: p.key, Value: p.value})
		}
		req.Resources = append(req.Resources, rr)
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
	if resource == ownTopic {
		return having(st, own+"-#")
	}
	return st
}

// ownTopic stands for a topic of the step's own.
const ownTopic = "(own)"

var besideAlterConfigs = []step{
	altered("a topic", topicKind, ownTopic, []pair{kv("retention.ms", "5000"), kv("max.message.bytes", "2000")}),
	altered("nothing set", topicKind, ownTopic, nil),
	altered("only validate", topicKind, "untouched", []pair{kv("retention.ms", "5000")}, func(r *kmsg.AlterConfigsRequest) { r.ValidateOnly = true }),
	altered("only validate what is bad", topicKind, "untouched", []pair{kv("retention.ms", "soon")}, func(r *kmsg.AlterConfigsRequest) { r.ValidateOnly = true }),
	altered("a key that is none", topicKind, "untouched", []pair{kv("no.such", "1")}),
	altered("a bad value", topicKind, "untouched", []pair{kv("retention.ms", "soon")}),
	altered("a value out of range", topicKind, "untouched", []pair{kv("segment.bytes", "1")}),
	altered("a value of null", topicKind, ownTopic, []pair{{"retention.ms", nil}}),
	altered("an empty value", topicKind, ownTopic, []pair{kv("retention.ms", "")}),
	altered("an empty key", topicKind, "untouched", []pair{kv("", "1")}),
	altered("a key twice", topicKind, ownTopic, []pair{kv("retention.ms", "5000"), kv("retention.ms", "6000")}),
	muted(only(2, 0, altered("a topic twice", topicKind, "untouched", []pair{kv("retention.ms", "5000")}, func(r *kmsg.AlterConfigsRequest) {
		r.Resources = append(r.Resources, r.Resources[0])
	}))), // Apache Kafka never answers, so once is enough
	altered("a topic that is none", topicKind, "nowhere", []pair{kv("retention.ms", "5000")}),
	altered("a topic without a name", topicKind, "", []pair{kv("retention.ms", "5000")}),
	altered("a bad name", topicKind, "a b", []pair{kv("retention.ms", "5000")}),
	altered("a key of the broker that is read-only", brokerKind, "1", []pair{kv("num.partitions", "3")}),
	altered("a key of the broker that is none", brokerKind, "1", []pair{kv("no.such", "3")}),
	altered("another broker", brokerKind, "7", []pair{kv("log.cleaner.threads", "3")}),
	altered("a broker without a number", brokerKind, "one", []pair{kv("log.cleaner.threads", "3")}),
	altered("loggers", loggerKind, "1", []pair{kv("root", "INFO")}),
	altered("kind 0", unknownKind, "x", nil),
	altered("a kind that is none", nonsenseKind, "x", nil),
	altered("no resource", topicKind, "x", nil, func(r *kmsg.AlterConfigsRequest) { r.Resources = nil }),
}

// The kinds of incremental changes.
const (
	opSet      = kmsg.IncrementalAlterConfigOp(0)
	opDelete   = kmsg.IncrementalAlterConfigOp(1)
	opAppend   = kmsg.IncrementalAlterConfigOp(2)
	opSubtract = kmsg.IncrementalAlterConfigOp(3)
	opNone     = kmsg.IncrementalAlterConfigOp(9)
)

type change struct {
	op kmsg.IncrementalAlterConfigOp
	pair
}

// changed makes a step that changes configs of a resource one by one.
func changed(name string, kind kmsg.ConfigResourceType, resource string, changes []change, edits ...func(*kmsg.IncrementalAlterConfigsRequest)) step {
	own := "changed-" + strings.ReplaceAll(name, " ", "-")
	st := step{name: name, ask: func(_ *side, v int16) kmsg.Request {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		rr := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: resource}
		if resource == ownTopic {
			rr.ResourceName = fmt.Sprintf("%s-%d", own, v)
		}
		for _, c := range changes {
			rr.Configs = append(rr.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: c.key, Op: c.op, Value: c.value})
		}
		req.Resources = append(req.Resources, rr)
		for _, edit := range edits {
			edit(req)
		}
		return req
	}}
	if resource == ownTopic {
		return having(st, own+"-#")
	}
	return st
}

func one(op kmsg.IncrementalAlterConfigOp, p pair) []change { return []change{{op, p}} }

var besideIncremental = []step{
	changed("set", topicKind, ownTopic, one(opSet, kv("retention.ms", "5000"))),
	changed("append to a list", topicKind, ownTopic, one(opAppend, kv("cleanup.policy", "compact"))),
	changed("append what is there", topicKind, "untouched", one(opAppend, kv("cleanup.policy", "delete"))),
	changed("subtract what is not there", topicKind, "untouched", one(opSubtract, kv("cleanup.policy", "compact"))),
	changed("subtract all", topicKind, "untouched", one(opSubtract, kv("cleanup.policy", "delete"))),
	changed("append to what is no list", topicKind, "untouched", one(opAppend, kv("retention.ms", "5000"))),
	changed("delete what is set", topicKind, "described", one(opDelete, pair{"retention.ms", nil})),
	changed("delete what is not set", topicKind, "untouched", one(opDelete, pair{"retention.ms", nil})),
	changed("delete with a value", topicKind, ownTopic, one(opDelete, kv("retention.ms", "5000"))),
	changed("a change that is none", topicKind, "untouched", one(opNone, kv("retention.ms", "5000"))),
	changed("set to null", topicKind, ownTopic, one(opSet, pair{"retention.ms", nil})),
	changed("append null", topicKind, "untouched", one(opAppend, pair{"cleanup.policy", nil})),
	changed("a key that is none", topicKind, "untouched", one(opSet, kv("no.such", "1"))),
	changed("delete a key that is none", topicKind, "untouched", one(opDelete, pair{"no.such", nil})),
	changed("an empty key", topicKind, "untouched", one(opSet, kv("", "1"))),
	changed("a bad value", topicKind, "untouched", one(opSet, kv("retention.ms", "soon"))),
	changed("a value out of range", topicKind, "untouched", one(opSet, kv("segment.bytes", "1"))),
	changed("a bad element", topicKind, "untouched", one(opAppend, kv("cleanup.policy", "burn"))),
	changed("a key twice", topicKind, ownTopic, []change{{opSet, kv("retention.ms", "5000")}, {opDelete, pair{"retention.ms", nil}}}),
	changed("nothing to change", topicKind, "untouched", nil),
	changed("only validate", topicKind, "untouched", one(opSet, kv("retention.ms", "5000")), func(r *kmsg.IncrementalAlterConfigsRequest) { r.ValidateOnly = true }),
	changed("a topic twice", topicKind, "untouched", one(opSet, kv("retention.ms", "5000")), func(r *kmsg.IncrementalAlterConfigsRequest) {
		r.Resources = append(r.Resources, r.Resources[0])
	}),
	changed("a topic that is none", topicKind, "nowhere", one(opSet, kv("retention.ms", "5000"))),
	changed("a topic without a name", topicKind, "", one(opSet, kv("retention.ms", "5000"))),
	changed("a bad name", topicKind, "a b", one(opSet, kv("retention.ms", "5000"))),
	changed("a key of the broker that is read-only", brokerKind, "1", one(opSet, kv("num.partitions", "3"))),
	changed("a key of the broker that is none", brokerKind, "1", one(opSet, kv("no.such", "3"))),
	changed("a key of the broker that may change", brokerKind, "1", one(opSet, kv("log.cleaner.threads", "1")), func(r *kmsg.IncrementalAlterConfigsRequest) { r.ValidateOnly = true }),
	changed("another broker", brokerKind, "7", one(opSet, kv("log.cleaner.threads", "1"))),
	changed("a broker without a number", brokerKind, "one", one(opSet, kv("log.cleaner.threads", "1"))),
	changed("loggers", loggerKind, "1", one(opSet, kv("no.such", "INFO"))),
	changed("loggers of another broker", loggerKind, "7", one(opSet, kv("root", "INFO"))),
	changed("client metrics", metricsKind, "some", one(opSet, kv("interval.ms", "5000")), func(r *kmsg.IncrementalAlterConfigsRequest) { r.ValidateOnly = true }),
	changed("a group", groupKind, "some", one(opSet, kv("consumer.session.timeout.ms", "50000")), func(r *kmsg.IncrementalAlterConfigsRequest) { r.ValidateOnly = true }),
	changed("kind 0", unknownKind, "x", nil),
	changed("a kind that is none", nonsenseKind, "x", nil),
	changed("no resource", topicKind, "x", nil, func(r *kmsg.IncrementalAlterConfigsRequest) { r.Resources = nil }),
}

func logDirs(name string, edit func(*kmsg.DescribeLogDirsRequest)) step {
	return step{name: name, ask: func(*side, int16) kmsg.Request {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "read", Partitions: []int32{0, 1}}}
		edit(req)
		return req
	}}
}

var besideLogDirs = []step{
	logDirs("two partitions", func(*kmsg.DescribeLogDirsRequest) {}),
	logDirs("all", func(r *kmsg.DescribeLogDirsRequest) { r.Topics = nil }),
	logDirs("nothing", func(r *kmsg.DescribeLogDirsRequest) { r.Topics = []kmsg.DescribeLogDirsRequestTopic{} }),
	logDirs("a topic that is none", func(r *kmsg.DescribeLogDirsRequest) { r.Topics[0].Topic = "nowhere" }),
	logDirs("no such partition", func(r *kmsg.DescribeLogDirsRequest) { r.Topics[0].Partitions = []int32{9} }),
	logDirs("a partition twice", func(r *kmsg.DescribeLogDirsRequest) { r.Topics[0].Partitions = []int32{0, 0} }),
	logDirs("no partition", func(r *kmsg.DescribeLogDirsRequest) { r.Topics[0].Partitions = nil }),
}
