"""Driver of confluent-kafka (librdkafka); see lines.py."""

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

import lines
from lines import say


def produce(a):
    def delivered(err, m):
        if err is not None:
            raise KafkaException(err)
        say("acked", m.partition(), m.offset())

    for partition, codec in enumerate(lines.CODECS):
        p = Producer({"bootstrap.servers": a["bootstrap"], "compression.type": codec, "linger.ms": 20, "enable.idempotence": True})
        for key, value, headers, timestamp in lines.records(a, codec):
            p.produce(a["topic"], value, key, partition, on_delivery=delivered, timestamp=timestamp, headers=headers)
        if p.flush(20) != 0:
            raise RuntimeError("records were not delivered")


def simple_consumer(a):
    return Consumer({"bootstrap.servers": a["bootstrap"], "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error"})


def say_message(m):
    lines.say_record(m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers())


def next_message(c):
    while True:
        m = c.poll(1)
        if m is not None:
            if m.error():
                raise KafkaException(m.error())
            return m


def drain(a):
    c = simple_consumer(a)
    c.assign([TopicPartition(a["topic"], p, OFFSET_BEGINNING) for p in range(int(a["partitions"]))])
    for _ in range(int(a["count"])):
        say_message(next_message(c))
    c.close()


def seek(a):
    c = simple_consumer(a)
    topic = a["topic"]
    for at in a["at"].split(","):
        start, end = c.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
        if at == "earliest":
            offset = start
        elif at == "latest":
            offset = end
        else:
            offset = c.offsets_for_times([TopicPartition(topic, 0, int(at))], timeout=10)[0].offset
        say("position", at, offset)
        if offset < 0:
            continue
        c.assign([TopicPartition(topic, 0, offset)])
        say_message(next_message(c))
    c.close()


def member(a):
    ended = lines.input_ended()
    conf = {
        "bootstrap.servers": a["bootstrap"],
        "group.id": a["group"],
        "partition.assignment.strategy": a["assignor"],
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "heartbeat.interval.ms": 300,
        "session.timeout.ms": 6000,
        "topic.metadata.refresh.interval.ms": 2000,
    }
    if "instance" in a:
        conf["group.instance.id"] = a["instance"]
    c = Consumer(conf)
    mine, read = set(), {}

    def commit():
        if not read:
            return
        try:
            c.commit(offsets=[TopicPartition(a["topic"], p, o) for p, o in read.items()], asynchronous=False)
        except KafkaException as e:
            say("commit-failed", e.args[0].name())
            return
        say("committed", ",".join(f"{p}:{o}" for p, o in sorted(read.items())))
        read.clear()

    def assigned(_, partitions):
        mine.update(p.partition for p in partitions)
        lines.say_assigned(mine)

    def revoked(_, partitions):
        commit()
        mine.difference_update(p.partition for p in partitions)
        lines.say_assigned(mine)

    def lost(_, partitions):
        read.clear()
        mine.difference_update(p.partition for p in partitions)
        say("lost")
        lines.say_assigned(mine)

    c.subscribe([a["topic"]], on_assign=assigned, on_revoke=revoked, on_lost=lost)
    while not ended.is_set():
        for m in c.consume(500, 0.1):
            if m.error():
                say("error", m.error().name())
                continue
            say_message(m)
            read[m.partition()] = m.offset() + 1
        commit()
    c.close()
    say("closed")


def one(futures):
    return next(iter(futures.values())).result(20)


def admin(a):
    admin = AdminClient({"bootstrap.servers": a["bootstrap"]})
    topic, group = a["topic"], a["group"]
    first = TopicPartition(topic, 0)
    say("cluster-nodes", len(admin.describe_cluster().result(20).nodes))

    new = NewTopic(topic, num_partitions=3, replication_factor=1, config={"retention.ms": "3600000"})
    one(admin.create_topics([new]))
    try:
        one(admin.create_topics([new]))
    except KafkaException as e:
        say("again", e.args[0].name())

    def partitions(want):
        return lines.until(want, lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions))

    def config(key, want):
        def ask():
            entry = one(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))[key]
            return f"{entry.value} {entry.source}"

        return lines.until(want, ask)

    def alter(key, value, operation):
        entry = ConfigEntry(key, value, incremental_operation=operation)
        one(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]))

    say("partitions", partitions(3))
    say("retention.ms", config("retention.ms", "3600000 1"))
    alter("max.message.bytes", "2000000", AlterConfigOpType.SET)
    say("max.message.bytes", config("max.message.bytes", "2000000 1"))
    alter("retention.ms", None, AlterConfigOpType.DELETE)
    say("retention.ms", config("retention.ms", "604800000 5"))
    # All that is described, two keys changed, is sent back: the old AlterConfigs replaces what is set.
    whole = ConfigResource(ResourceType.TOPIC, topic)
    sent = {key: entry.value for key, entry in one(admin.describe_configs([whole])).items()}
    sent.update({"retention.ms": "86400000", "message.timestamp.type": "LogAppendTime"})
    one(admin.alter_configs([ConfigResource(ResourceType.TOPIC, topic, set_config=sent)]))

    def differ():
        now = one(admin.describe_configs([whole]))
        return [key for key, value in sent.items() if now[key].value != value]

    say("sent-back", len(sent) > 30, lines.until([], differ))
    alter("cleanup.policy", "compact", AlterConfigOpType.APPEND)
    alter("message.timestamp.type", None, AlterConfigOpType.DELETE)
    say("cleanup.policy", config("cleanup.policy", "delete,compact 1"))
    say("message.timestamp.type", config("message.timestamp.type", "CreateTime 5"))
    alter("cleanup.policy", None, AlterConfigOpType.DELETE)  # what follows has no keys
    one(admin.create_partitions([NewPartitions(topic, 5)]))
    say("partitions", partitions(5))

    p = Producer({"bootstrap.servers": a["bootstrap"]})
    for i in range(10):
        p.produce(topic, b"v%d" % i, partition=0)
    p.flush(20)
    say("deleted-before", one(admin.delete_records([TopicPartition(topic, 0, 4)])).low_watermark)
    say("earliest", one(admin.list_offsets({first: OffsetSpec.earliest()})).offset)
    say("latest", one(admin.list_offsets({first: OffsetSpec.latest()})).offset)

    one(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 7)])]))
    listed = one(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [first])]))
    say("committed", listed.topic_partitions[0].offset)

    def known():
        return group in [g.group_id for g in admin.list_consumer_groups().result(20).valid]

    say("group-listed", known())
    say("group-state", one(admin.describe_consumer_groups([group])).state.name)
    one(admin.delete_consumer_groups([group]))
    say("group-listed", known())
    one(admin.delete_topics([topic]))
    say("topic-listed", lines.until(False, lambda: topic in admin.list_topics(timeout=10).topics))


verb, args = lines.arguments()
{"produce": produce, "drain": drain, "seek": seek, "member": member, "admin": admin}[verb](args)
