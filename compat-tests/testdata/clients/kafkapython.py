"""Driver of kafka-python; see lines.py."""

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, OffsetSpec
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError

import lines
from lines import say

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}


def produce(a):
    for partition, codec in enumerate(lines.CODECS):
        compression = None if codec == "none" else codec
        p = KafkaProducer(bootstrap_servers=a["bootstrap"], compression_type=compression, linger_ms=20)
        sent = [
            p.send(a["topic"], value, key, headers, partition, timestamp)
            for key, value, headers, timestamp in lines.records(a, codec)
        ]
        for f in sent:
            answer = f.get(20)
            say("acked", answer.partition, answer.offset)
        p.close()


def say_message(m):
    lines.say_record(m.partition, m.offset, m.timestamp, m.key, m.value, m.headers)


def simple_consumer(a):
    return KafkaConsumer(bootstrap_servers=a["bootstrap"], group_id=None, auto_offset_reset="none", enable_auto_commit=False)


def drain(a):
    c = simple_consumer(a)
    parts = [TopicPartition(a["topic"], p) for p in range(int(a["partitions"]))]
    c.assign(parts)
    c.seek_to_beginning(*parts)
    for _ in range(int(a["count"])):
        say_message(next(c))
    c.close()


def seek(a):
    tp = TopicPartition(a["topic"], 0)
    c = simple_consumer(a)
    c.assign([tp])
    for at in a["at"].split(","):
        if at == "earliest":
            offset = c.beginning_offsets([tp])[tp]
        elif at == "latest":
            offset = c.end_offsets([tp])[tp]
        else:
            found = c.offsets_for_times({tp: int(at)})[tp]
            offset = -1 if found is None else found.offset
        say("position", at, offset)
        if offset < 0:
            continue
        c.seek(tp, offset)
        say_message(next(c))
    c.close()


class Listener(ConsumerRebalanceListener):
    def __init__(self, cooperative, commit):
        self.cooperative = cooperative
        self.commit = commit
        self.mine = set()

    def on_partitions_revoked(self, revoked):
        self.commit()
        self.mine -= {p.partition for p in revoked}
        lines.say_assigned(self.mine)

    def on_partitions_lost(self, lost):
        say("lost")
        self.mine -= {p.partition for p in lost}
        lines.say_assigned(self.mine)

    def on_partitions_assigned(self, assigned):
        got = {p.partition for p in assigned}
        self.mine = self.mine | got if self.cooperative else got
        lines.say_assigned(self.mine)


def member(a):
    ended = lines.input_ended()
    c = KafkaConsumer(
        bootstrap_servers=a["bootstrap"], group_id=a["group"], group_instance_id=a.get("instance"),
        partition_assignment_strategy=[ASSIGNORS[a["assignor"]]], auto_offset_reset="earliest", enable_auto_commit=False,
        heartbeat_interval_ms=300, session_timeout_ms=6000, metadata_max_age_ms=2000,
    )
    read = {}

    def commit():
        if not read:
            return
        try:
            c.commit({TopicPartition(a["topic"], p): OffsetAndMetadata(o, "", -1) for p, o in read.items()})
        except KafkaError as e:
            say("commit-failed", type(e).__name__)
            return
        say("committed", ",".join(f"{p}:{o}" for p, o in sorted(read.items())))
        read.clear()

    c.subscribe([a["topic"]], listener=Listener(a["assignor"].startswith("coop"), commit))
    while not ended.is_set():
        # Long enough for a rebalance: this client forgets to take its partitions over when a
        # metadata change made it rejoin and it was told of them between two polls.
        for batch in c.poll(1500).values():
            for m in batch:
                say_message(m)
                read[m.partition] = m.offset + 1
        commit()
    c.close()
    say("closed")


def admin(a):
    topic, group = a["topic"], a["group"]
    tp = TopicPartition(topic, 0)
    admin = KafkaAdminClient(bootstrap_servers=a["bootstrap"])
    say("cluster-nodes", len(admin.describe_cluster()["brokers"]))
    new = {topic: {"num_partitions": 3, "replication_factor": 1, "configs": {"retention.ms": "3600000"}}}
    admin.create_topics(new)
    try:
        admin.create_topics(new)
    except KafkaError as e:
        say("again", type(e).__name__)

    def partitions(want):
        return lines.until(want, lambda: len(admin.describe_topics([topic])[0]["partitions"]))

    def config(key, want):
        def ask():
            return admin.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")["topic"][topic][key]["value"]

        return lines.until(want, ask)

    say("partitions", partitions(3))
    say("retention.ms", config("retention.ms", "3600000"))
    admin.alter_configs([ConfigResource("TOPIC", topic, configs={"max.message.bytes": "2000000"})])
    say("max.message.bytes", config("max.message.bytes", "2000000"))
    admin.alter_configs([ConfigResource("TOPIC", topic, configs={"retention.ms": ("DELETE", None)})])
    say("retention.ms", config("retention.ms", "604800000"))
    admin.create_partitions({topic: 5})
    say("partitions", partitions(5))

    p = KafkaProducer(bootstrap_servers=a["bootstrap"])
    for i in range(10):
        p.send(topic, b"v%d" % i, partition=0)
    p.flush()
    say("deleted-before", admin.delete_records({tp: 4})[tp]["low_watermark"])
    say("earliest", admin.list_partition_offsets({tp: OffsetSpec.EARLIEST})[tp].offset)
    say("latest", admin.list_partition_offsets({tp: OffsetSpec.LATEST})[tp].offset)
    admin.alter_group_offsets(group, {tp: OffsetAndMetadata(7, "", -1)})
    say("committed", admin.list_group_offsets([group])[group][tp].offset)

    def known():
        return group in [g["group_id"] for g in admin.list_groups()]

    say("group-listed", known())
    say("group-state", admin.describe_groups([group])[group]["group_state"])
    admin.delete_groups([group])
    say("group-listed", known())
    admin.delete_topics([topic])
    say("topic-listed", lines.until(False, lambda: topic in admin.list_topics()))
    admin.close()


verb, args = lines.arguments()
{"produce": produce, "drain": drain, "seek": seek, "member": member, "admin": admin}[verb](args)
