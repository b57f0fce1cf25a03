import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import java.util.zip.CRC32;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;

/** Driver of Kafka's own Java client; its verbs and lines are those of lines.py. */
public class Client {
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    static final String BYTES = "org.apache.kafka.common.serialization.ByteArray";
    static final Duration POLL = Duration.ofMillis(100);

    final Map<String, String> args = new HashMap<>();
    final String topic;

    Client(String[] words) {
        for (int i = 1; i < words.length; i++) {
            int at = words[i].indexOf('=');
            args.put(words[i].substring(0, at), words[i].substring(at + 1));
        }
        topic = args.get("topic");
    }

    public static void main(String[] words) throws Exception {
        Client c = new Client(words);
        switch (words[0]) {
            case "produce" -> c.produce();
            case "drain" -> c.drain();
            case "seek" -> c.seek();
            case "member" -> c.member();
            case "admin" -> c.admin();
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    static synchronized void say(Object... words) {
        StringBuilder line = new StringBuilder();
        for (Object w : words) {
            line.append(line.length() == 0 ? "" : " ").append(w);
        }
        System.out.println(line);
    }

    static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] b) {
        return b == null ? "-" : new String(b, StandardCharsets.UTF_8);
    }

    Properties properties(String... more) {
        Properties p = new Properties();
        p.put("bootstrap.servers", args.get("bootstrap"));
        for (String side : List.of("key", "value")) {
            p.put(side + ".serializer", BYTES + "Serializer");
            p.put(side + ".deserializer", BYTES + "Deserializer");
        }
        for (int i = 0; i < more.length; i += 2) {
            p.put(more[i], more[i + 1]);
        }
        return p;
    }

    void produce() throws Exception {
        for (int partition = 0; partition < CODECS.length; partition++) {
            String codec = CODECS[partition];
            try (KafkaProducer<byte[], byte[]> p = new KafkaProducer<>(properties("compression.type", codec, "linger.ms", "20"))) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int i = 0; i < Integer.parseInt(args.get("count")); i++) {
                    long time = Long.parseLong(args.get("time")) + i * Long.parseLong(args.get("step"));
                    ProducerRecord<byte[], byte[]> r = new ProducerRecord<>(topic, partition, time, bytes("k" + i),
                        bytes(codec + "-" + i + "-" + "x".repeat(1000)));
                    r.headers().add("codec", bytes(codec));
                    sent.add(p.send(r));
                }
                for (Future<RecordMetadata> f : sent) {
                    say("acked", f.get().partition(), f.get().offset());
                }
            }
        }
    }

    static void say(ConsumerRecord<byte[], byte[]> r) {
        CRC32 crc = new CRC32();
        crc.update(r.value());
        Header codec = r.headers().lastHeader("codec");
        say("record", r.partition(), r.offset(), r.timestamp(), text(r.key()), r.value().length,
            String.format("%08x", crc.getValue()), codec == null ? "-" : text(codec.value()));
    }

    KafkaConsumer<byte[], byte[]> simple() {
        return new KafkaConsumer<>(properties("auto.offset.reset", "none", "enable.auto.commit", "false"));
    }

    void drain() {
        try (Consumer<byte[], byte[]> c = simple()) {
            List<TopicPartition> parts = new ArrayList<>();
            for (int i = 0; i < Integer.parseInt(args.get("partitions")); i++) {
                parts.add(new TopicPartition(topic, i));
            }
            c.assign(parts);
            c.seekToBeginning(parts);
            for (int left = Integer.parseInt(args.get("count")); left > 0;) {
                for (ConsumerRecord<byte[], byte[]> r : c.poll(POLL)) {
                    say(r);
                    left--;
                }
            }
        }
    }

    void seek() {
        TopicPartition tp = new TopicPartition(topic, 0);
        try (Consumer<byte[], byte[]> c = simple()) {
            c.assign(List.of(tp));
            for (String at : args.get("at").split(",")) {
                long offset = position(c, tp, at);
                say("position", at, offset);
                if (offset < 0) {
                    continue;
                }
                c.seek(tp, offset);
                ConsumerRecord<byte[], byte[]> first = null;
                while (first == null) {
                    for (ConsumerRecord<byte[], byte[]> r : c.poll(POLL)) {
                        first = first == null ? r : first;
                    }
                }
                say(first);
            }
        }
    }

    static long position(Consumer<byte[], byte[]> c, TopicPartition tp, String at) {
        switch (at) {
            case "earliest":
                return c.beginningOffsets(List.of(tp)).get(tp);
            case "latest":
                return c.endOffsets(List.of(tp)).get(tp);
            default:
                OffsetAndTimestamp found = c.offsetsForTimes(Map.of(tp, Long.parseLong(at))).get(tp);
                return found == null ? -1 : found.offset();
        }
    }

    static String assignor(String name) {
        return "org.apache.kafka.clients.consumer." + switch (name) {
            case "range" -> "RangeAssignor";
            case "roundrobin" -> "RoundRobinAssignor";
            case "sticky" -> "StickyAssignor";
            default -> "CooperativeStickyAssignor";
        };
    }

    void member() {
        AtomicBoolean ended = inputEnded();
        Properties p = properties("group.id", args.get("group"), "auto.offset.reset", "earliest", "enable.auto.commit", "false",
            "partition.assignment.strategy", assignor(args.get("assignor")), "heartbeat.interval.ms", "300",
            "session.timeout.ms", "6000", "metadata.max.age.ms", "2000", "default.api.timeout.ms", "20000");
        if (args.containsKey("instance")) {
            p.put("group.instance.id", args.get("instance"));
        }
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(p)) {
            Member m = new Member(c);
            c.subscribe(List.of(topic), m);
            while (!ended.get()) {
                for (ConsumerRecord<byte[], byte[]> r : c.poll(POLL)) {
                    say(r);
                    m.read.put(new TopicPartition(topic, r.partition()), new OffsetAndMetadata(r.offset() + 1));
                }
                m.commit();
            }
        }
        say("closed");
    }

    /** Set when the standard input ends. */
    static AtomicBoolean inputEnded() {
        AtomicBoolean ended = new AtomicBoolean();
        Thread waiter = new Thread(() -> {
            try {
                System.in.transferTo(OutputStream.nullOutputStream());
            } catch (IOException e) {
                say("input", e);
            }
            ended.set(true);
        });
        waiter.setDaemon(true);
        waiter.start();
        return ended;
    }

    static class Member implements ConsumerRebalanceListener {
        final Consumer<byte[], byte[]> consumer;
        final Set<Integer> mine = new TreeSet<>();
        final Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>();

        Member(Consumer<byte[], byte[]> consumer) {
            this.consumer = consumer;
        }

        void commit() {
            if (read.isEmpty()) {
                return;
            }
            try {
                consumer.commitSync(read);
            } catch (KafkaException e) {
                say("commit-failed", e.getClass().getSimpleName());
                return;
            }
            say("committed", read.entrySet().stream().map(e -> e.getKey().partition() + ":" + e.getValue().offset())
                .collect(Collectors.joining(",")));
            read.clear();
        }

        void sayMine() {
            say("assigned", mine.isEmpty() ? "-" : mine.stream().map(String::valueOf).collect(Collectors.joining(",")));
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> parts) {
            parts.forEach(p -> mine.add(p.partition()));
            sayMine();
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> parts) {
            commit();
            parts.forEach(p -> mine.remove(p.partition()));
            sayMine();
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> parts) {
            say("lost");
            read.clear();
            parts.forEach(p -> mine.remove(p.partition()));
            sayMine();
        }
    }

    interface Question {
        Object ask() throws Exception;
    }

    /** Asks until the answer is wanted, but not for ever: Kafka's brokers learn of a change after it was acknowledged. */
    static Object until(Object want, Question question) throws Exception {
        Object answer = null;
        for (int i = 0; i < 200; i++) {
            try {
                answer = question.ask();
            } catch (ExecutionException e) {
                answer = e.getCause().getClass().getSimpleName();
            }
            if (want.equals(answer)) {
                break;
            }
            Thread.sleep(50);
        }
        return answer;
    }

    Object partitions(Admin admin, int want) throws Exception {
        return until(want, () -> admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
    }

    void alter(Admin admin, ConfigResource resource, AlterConfigOp.OpType op, String key, String value) throws Exception {
        admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry(key, value), op)))).all().get();
    }

    void admin() throws Exception {
        String group = args.get("group");
        TopicPartition tp = new TopicPartition(topic, 0);
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try (Admin admin = Admin.create(properties())) {
            say("cluster-nodes", admin.describeCluster().nodes().get().size());
            NewTopic fresh = new NewTopic(topic, 3, (short) 1).configs(Map.of("retention.ms", "3600000"));
            admin.createTopics(List.of(fresh)).all().get();
            try {
                admin.createTopics(List.of(fresh)).all().get();
            } catch (ExecutionException e) {
                say("again", e.getCause().getClass().getSimpleName());
            }
            say("partitions", partitions(admin, 3));
            configs(admin, resource);
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            say("partitions", partitions(admin, 5));

            try (KafkaProducer<byte[], byte[]> p = new KafkaProducer<>(properties())) {
                for (int i = 0; i < 10; i++) {
                    p.send(new ProducerRecord<>(topic, 0, null, bytes("v" + i)));
                }
            }
            say("deleted-before", admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(4))).lowWatermarks().get(tp).get().lowWatermark());
            say("earliest", admin.listOffsets(Map.of(tp, OffsetSpec.earliest())).partitionResult(tp).get().offset());
            say("latest", admin.listOffsets(Map.of(tp, OffsetSpec.latest())).partitionResult(tp).get().offset());

            admin.alterConsumerGroupOffsets(group, Map.of(tp, new OffsetAndMetadata(7))).all().get();
            say("committed", admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(tp).offset());
            say("group-listed", listed(admin, group));
            say("group-state", admin.describeConsumerGroups(List.of(group)).all().get().get(group).groupState());
            admin.deleteConsumerGroups(List.of(group)).all().get();
            say("group-listed", listed(admin, group));
            admin.deleteTopics(List.of(topic)).all().get();
            say("topic-listed", until(false, () -> admin.listTopics().names().get().contains(topic)));
        }
    }

    void configs(Admin admin, ConfigResource resource) throws Exception {
        say("retention.ms", config(admin, resource, "retention.ms", "3600000 DYNAMIC_TOPIC_CONFIG"));
        alter(admin, resource, AlterConfigOp.OpType.SET, "max.message.bytes", "2000000");
        say("max.message.bytes", config(admin, resource, "max.message.bytes", "2000000 DYNAMIC_TOPIC_CONFIG"));
        alter(admin, resource, AlterConfigOp.OpType.DELETE, "retention.ms", null);
        say("retention.ms", config(admin, resource, "retention.ms", "604800000 DEFAULT_CONFIG"));
    }

    static Object config(Admin admin, ConfigResource resource, String key, String want) throws Exception {
        return until(want, () -> {
            ConfigEntry entry = admin.describeConfigs(List.of(resource)).all().get().get(resource).get(key);
            return entry.value() + " " + entry.source();
        });
    }

    static boolean listed(Admin admin, String group) throws Exception {
        return admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group));
    }
}
