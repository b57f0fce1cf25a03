# Topics from their making to their end.

$ sluice topic ls
TOPIC  PARTITIONS  REPLICAS
$ sluice topic create orders -p 3 --set retention.ms=86400000
TOPIC   STATUS   PARTITIONS  REPLICAS
orders  created  3           1
$ sluice topic create orders
TOPIC   STATUS  PARTITIONS  REPLICAS
orders  failed  -           -
2> sluice: topic "orders" exists already
[exit 5]
$ sluice topic create orders payments --if-not-exists
TOPIC     STATUS   PARTITIONS  REPLICAS
orders    exists   -           -
payments  created  2           1
$ sluice topic create orders shop-a shop-b --dry-run
TOPIC   STATUS  PARTITIONS  REPLICAS
orders  failed  -           -
shop-a  valid   2           1
shop-b  valid   2           1
2> sluice: topic "orders" exists already
[exit 4]
$ sluice topic create bad --set retention.ms=soon
TOPIC  STATUS  PARTITIONS  REPLICAS
bad    failed  -           -
2> sluice: topic "bad": invalid topic configuration: retention.ms="soon": want a whole number from -1 to 9223372036854775807 (INVALID_CONFIG)
[exit 1]
$ sluice topic create 'bad name' good-name
TOPIC      STATUS   PARTITIONS  REPLICAS
bad name   failed   -           -
good-name  created  2           1
2> sluice: topic "bad name": invalid topic name: only letters, digits, '.', '_' and '-' are allowed (INVALID_TOPIC_EXCEPTION)
[exit 4]
$ sluice topic create t --config nonsense
2> sluice: "nonsense": want KEY=VALUE, such as retention.ms=86400000
[exit 2]
$ sluice topic create
2> sluice: requires at least 1 arg(s), only received 0 (see sluice topic create --help)
[exit 2]
$ sluice topic ls
TOPIC      PARTITIONS  REPLICAS
good-name  2           1
orders     3           1
payments   2           1
$ sluice topic ls 'p*' -o json
[
  {
    "name": "payments",
    "partitions": 2,
    "replicas": 1,
    "internal": false
  }
]
$ sluice topic ls 'x*' -o json
[]
$ sluice topic ls -o yaml
- name: good-name
  partitions: 2
  replicas: 1
  internal: false
- name: orders
  partitions: 3
  replicas: 1
  internal: false
- name: payments
  partitions: 2
  replicas: 1
  internal: false
$ sluice topic ls '[' 
2> sluice: pattern "[": syntax error in pattern
[exit 2]
$ sluice topic list -o xml
2> sluice: invalid argument "xml" for "-o, --output" flag: want table, json or yaml (see sluice topic ls --help)
[exit 2]

# What a topic is: offsets, size, configuration with its source.

$ printf 'a\nb\nc\n' | sluice produce orders -p 1
$ sluice topic describe orders
Topic:       orders
Id:          TOPIC-ID-TOPIC-ID-TOPI
Partitions:  3
Records:     3
Bytes:       85
.
PARTITION  LEADER  EPOCH  REPLICAS  ISR  START  END  BYTES
0          1       0      1         1    0      0    0
1          1       0      1         1    0      3    85
2          1       0      1         1    0      0    0
.
CONFIG        VALUE     SET BY
retention.ms  86400000  topic
$ sluice topic describe payments -o json
[
  {
    "name": "payments",
    "id": "TOPIC-ID-TOPIC-ID-TOPI",
    "internal": false,
    "records": 0,
    "bytes": 0,
    "partitions": [
      {
        "partition": 0,
        "leader": 1,
        "leader_epoch": 0,
        "replicas": [
          1
        ],
        "isr": [
          1
        ],
        "start": 0,
        "end": 0,
        "bytes": 0
      },
      {
        "partition": 1,
        "leader": 1,
        "leader_epoch": 0,
        "replicas": [
          1
        ],
        "isr": [
          1
        ],
        "start": 0,
        "end": 0,
        "bytes": 0
      }
    ],
    "configs": []
  }
]
$ sluice topic describe payments -o yaml
- name: payments
  id: TOPIC-ID-TOPIC-ID-TOPI
  internal: false
  records: 0
  bytes: 0
  partitions:
    - partition: 0
      leader: 1
      leader_epoch: 0
      replicas:
        - 1
      isr:
        - 1
      start: 0
      end: 0
      bytes: 0
    - partition: 1
      leader: 1
      leader_epoch: 0
      replicas:
        - 1
      isr:
        - 1
      start: 0
      end: 0
      bytes: 0
  configs: []
$ sluice topic describe orders absent -o json
[
  {
    "name": "orders",
    "id": "TOPIC-ID-TOPIC-ID-TOPI",
    "internal": false,
    "records": 3,
    "bytes": 85,
    "partitions": [
      {
        "partition": 0,
        "leader": 1,
        "leader_epoch": 0,
        "replicas": [
          1
        ],
        "isr": [
          1
        ],
        "start": 0,
        "end": 0,
        "bytes": 0
      },
      {
        "partition": 1,
        "leader": 1,
        "leader_epoch": 0,
        "replicas": [
          1
        ],
        "isr": [
          1
        ],
        "start": 0,
        "end": 3,
        "bytes": 85
      },
      {
        "partition": 2,
        "leader": 1,
        "leader_epoch": 0,
        "replicas": [
          1
        ],
        "isr": [
          1
        ],
        "start": 0,
        "end": 0,
        "bytes": 0
      }
    ],
    "configs": [
      {
        "key": "retention.ms",
        "value": "86400000",
        "source": "topic"
      }
    ]
  }
]
2> sluice: topic "absent" does not exist
[exit 4]
$ sluice topic describe absent
2> sluice: topic "absent" does not exist
[exit 3]

# Changes are checked first, and told.

$ sluice topic alter orders --set retention.ms=1000 --unset max.message.bytes -p 4 --dry-run
TOPIC   WHAT               FROM      TO
orders  max.message.bytes  1048588   (default)
orders  retention.ms       86400000  1000
orders  partitions         3         4
A dry run: nothing was changed.
$ sluice topic alter orders --set retention.ms=1000 --unset max.message.bytes -p 4
TOPIC   WHAT               FROM      TO
orders  max.message.bytes  1048588   (default)
orders  retention.ms       86400000  1000
orders  partitions         3         4
$ sluice topic alter orders --unset retention.ms -o json
[
  {
    "topic": "orders",
    "what": "retention.ms",
    "from": "1000",
    "to": null
  }
]
$ sluice topic alter orders -p 2
2> sluice: topic "orders": invalid number of partitions: the topic has 4, 2 are asked for (INVALID_PARTITIONS)
[exit 1]
$ sluice topic alter orders --set retention.ms=soon
2> sluice: topic "orders": invalid topic configuration: retention.ms="soon": want a whole number from -1 to 9223372036854775807 (INVALID_CONFIG)
[exit 1]
$ sluice topic alter orders --set no.such.key=1
2> sluice: topic "orders": invalid topic configuration: no.such.key="1": unknown topic configuration (INVALID_CONFIG)
[exit 1]
$ sluice topic alter orders --set a=1 --unset a
2> sluice: a is set and unset
[exit 2]
$ sluice topic alter orders
2> sluice: nothing to change: want --set, --unset or --partitions
[exit 2]
$ sluice topic alter absent -p 4
2> sluice: topic "absent" does not exist
[exit 3]

# The end wants a yes.

$ sluice topic delete orders
2> sluice: deleting orders is for good: nobody is here to ask, so add --yes
[exit 5]
$ sluice topic delete orders absent --yes
TOPIC   STATUS
absent  failed
orders  deleted
2> sluice: topic "absent" does not exist
[exit 4]
$ sluice topic delete orders --yes
TOPIC   STATUS
orders  failed
2> sluice: topic "orders" does not exist
[exit 3]
$ sluice topic delete orders payments --yes --if-exists -o json
[
  {
    "name": "orders",
    "status": "absent"
  },
  {
    "name": "payments",
    "status": "deleted"
  }
]
$ sluice topic ls
TOPIC      PARTITIONS  REPLICAS
good-name  2           1
$ sluice topic
List, create, describe, change and delete topics, of Sluice or of any Kafka cluster.
.
  sluice topic create orders -p 6
  sluice topic ls
  sluice topic describe orders
.
Usage:
  sluice topic [flags]
  sluice topic [command]
.
Available Commands:
  alter       Change configuration and number of partitions of topics
  create      Create topics
  delete      Delete topics with all their records
  describe    Show partitions, offsets, size and configuration of topics
  ls          List topics
.
Flags:
  -b, --brokers HOST:PORT   HOST:PORT of one or more brokers (default $SLUICE_BROKERS, else 127.0.0.1:9092)
  -h, --help                help for topic
      --timeout TIME        longest TIME to wait for an answer of the cluster (default 10s)
.
Use "sluice topic [command] --help" for more information about a command.
.
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 topic, partition or group not found;
4 done in part, the rest failed; 5 refused as things stand (it exists, it has
members, not confirmed); 6 cluster not reachable, or no answer within --timeout.
$ sluice topic lst
2> sluice: unknown command "lst": did you mean ls? (see sluice topic --help)
[exit 2]
