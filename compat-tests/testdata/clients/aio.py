"""Driver of aiokafka; see lines.py."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, for_code

import lines
from lines import say

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor, "sticky": StickyPartitionAssignor}


async def produce(a):
    for partition, codec in enumerate(lines.CODECS):
        compression = None if codec == "none" else codec
        async with AIOKafkaProducer(bootstrap_servers=a["bootstrap"], compression_type=compression, linger_ms=20, enable_idempotence=True) as p:
            sent = []
            for key, value, headers, timestamp in lines.records(a, codec):
                sent.append(await p.send(a["topic"], value, key, partition, timestamp_ms=timestamp, headers=headers))
            for answer in await asyncio.gather(*sent):
                say("acked", answer.partition, answer.offset)


def say_message(m):
    lines.say_record(m.partition, m.offset, m.timestamp, m.key, m.value, m.headers)


async def drain(a):
    async with AIOKafkaConsumer(bootstrap_servers=a["bootstrap"], enable_auto_commit=False, auto_offset_reset="none") as c:
        parts = [TopicPartition(a["topic"], p) for p in range(int(a["partitions"]))]
        c.assign(parts)
        await c.seek_to_beginning(*parts)
        for _ in range(int(a["count"])):
            say_message(await c.getone())


async def seek(a):
    tp = TopicPartition(a["topic"], 0)
    async with AIOKafkaConsumer(bootstrap_servers=a["bootstrap"], enable_auto_commit=False, auto_offset_reset="none") as c:
        c.assign([tp])
        for at in a["at"].split(","):
            if at == "earliest":
                offset = (await c.beginning_offsets([tp]))[tp]
            elif at == "latest":
                offset = (await c.end_offsets([tp]))[tp]
            else:
                found = (await c.offsets_for_times({tp: int(at)}))[tp]
                offset = -1 if found is None else found.offset
            say("position", at, offset)
            if offset < 0:
                continue
            c.seek(tp, offset)
            say_message(await c.getone())


class Listener(ConsumerRebalanceListener):
    def __init__(self, commit):
        self.commit = commit
        self.mine = set()

    async def on_partitions_revoked(self, revoked):
        await self.commit()
        self.mine -= {p.partition for p in revoked}
        lines.say_assigned(self.mine)

    async def on_partitions_assigned(self, assigned):
        self.mine = {p.partition for p in assigned}
        lines.say_assigned(self.mine)


async def member(a):
    ended = lines.input_ended()
    c = AIOKafkaConsumer(
        bootstrap_servers=a["bootstrap"], group_id=a["group"], group_instance_id=a.get("instance"),
        partition_assignment_strategy=(ASSIGNORS[a["assignor"]],), auto_offset_reset="earliest", enable_auto_commit=False,
        heartbeat_interval_ms=300, session_timeout_ms=6000, metadata_max_age_ms=2000, retry_backoff_ms=100,
    )
    read = {}

    async def commit():
        done = dict(read)
        if not done:
            return
        try:
            await c.commit({TopicPartition(a["topic"], p): o for p, o in done.items()})
        except KafkaError as e:
            say("commit-failed", type(e).__name__)
            return
        say("committed", ",".join(f"{p}:{o}" for p, o in sorted(done.items())))
        for p, o in done.items():
            if read.get(p) == o:
                del read[p]

    c.subscribe([a["topic"]], listener=Listener(commit))
    await c.start()
    while not ended.is_set():
        for batch in (await c.getmany(timeout_ms=100)).values():
            for m in batch:
                say_message(m)
                read[m.partition] = m.offset + 1
        await commit()
    await c.stop()
    say("closed")


def code_of(response):
    """The name of the first error code in a response about topics."""
    topics = getattr(response, "topic_errors", None) or getattr(response, "topic_error_codes", None)
    return for_code(topics[0][1]).__name__


async def until(want, ask):
    """lines.until for a coroutine."""
    for _ in range(200):
        try:
            answer = await ask()
        except Exception as e:
            answer = type(e).__name__
        if answer == want:
            break
        await asyncio.sleep(0.05)
    return answer


async def admin(a):
    topic, group = a["topic"], a["group"]
    tp = TopicPartition(topic, 0)
    admin = AIOKafkaAdminClient(bootstrap_servers=a["bootstrap"])
    await admin.start()
    say("cluster-nodes", len((await admin.describe_cluster())["brokers"]))
    new = NewTopic(topic, 3, 1, topic_configs={"retention.ms": "3600000"})
    say("create", code_of(await admin.create_topics([new])))
    say("again", code_of(await admin.create_topics([new])))

    async def partitions():
        return len((await admin.describe_topics([topic]))[0]["partitions"])

    def config(key):
        async def ask():
            answer = (await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))[0]
            return {c[0]: c for c in answer.resources[0][4]}[key][1]

        return ask

    say("partitions", await until(3, partitions))
    say("retention.ms", await until("3600000", config("retention.ms")))
    answer = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "2000000"})])
    say("alter", for_code(answer[0].resources[0][0]).__name__)
    say("max.message.bytes", await until("2000000", config("max.message.bytes")))
    say("retention.ms", await until("604800000", config("retention.ms")))  # the old alter replaces all
    await admin.create_partitions({topic: NewPartitions(5)})
    say("partitions", await until(5, partitions))

    async with AIOKafkaProducer(bootstrap_servers=a["bootstrap"]) as p:
        for i in range(10):
            await p.send_and_wait(topic, b"v%d" % i, partition=0)
    say("deleted-before", (await admin.delete_records({tp: RecordsToDelete(4)}))[tp])
    async with AIOKafkaConsumer(bootstrap_servers=a["bootstrap"], group_id=group, enable_auto_commit=False) as c:
        c.assign([tp])
        say("earliest", (await c.beginning_offsets([tp]))[tp])
        say("latest", (await c.end_offsets([tp]))[tp])
        await c.commit({tp: 7})
    say("committed", (await admin.list_consumer_group_offsets(group, partitions=[tp]))[tp].offset)

    async def known():
        return group in [g[0] for g in await admin.list_consumer_groups()]

    say("group-listed", await known())
    described = await admin.describe_consumer_groups([group])
    say("group-state", described[0].groups[0][2])
    say("delete", code_of(await admin.delete_topics([topic])))

    async def exists():
        return topic in await admin.list_topics()

    say("topic-listed", await until(False, exists))
    await admin.close()


verb, args = lines.arguments()
asyncio.run({"produce": produce, "drain": drain, "seek": seek, "member": member, "admin": admin}[verb](args))
