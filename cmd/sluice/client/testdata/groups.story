# A group that reads, and is moved.

$ sluice group ls
GROUP  STATE  TYPE  COORDINATOR
$ sluice topic create orders -p 2
TOPIC   STATUS   PARTITIONS  REPLICAS
orders  created  2           1
$ printf '0 a\n0 b\n0 c\n' | sluice produce orders -f '%p %s'
$ sluice consume orders -G billing -e -f '%p %o %s\n' -c 2
0 0 a
0 1 b
$ sluice group ls
GROUP    STATE  TYPE      COORDINATOR
billing  Empty  consumer  1
$ sluice group describe billing
Group:        billing
State:        Empty
Protocol:     -
Coordinator:  1
Lag:          1
Members:      0
.
TOPIC   PARTITION  COMMITTED  END  LAG  MEMBER
orders  0          2          3    1    -
$ sluice consume orders -G billing -e -o json -f '%s'
2> sluice: -f, -K, -J and -o are ways to print a record: want one
[exit 2]
$ sluice consume orders -G billing -e -f '%p %o %s\n'
0 2 c
$ printf '1 d\n1 e\n' | sluice produce orders -f '%p %s'
$ sluice consume orders -G billing -e -f '%p %o %s\n'
1 0 d
1 1 e
$ sluice consume orders -G billing -e
$ sluice group ls 'b*' -o json
[
  {
    "name": "billing",
    "state": "Empty",
    "protocol_type": "consumer",
    "coordinator": 1
  }
]
$ sluice group ls 'x*'
GROUP  STATE  TYPE  COORDINATOR
$ sluice group ls --state Stable
GROUP  STATE  TYPE  COORDINATOR
$ sluice group describe billing -o json
[
  {
    "name": "billing",
    "state": "Empty",
    "protocol": "",
    "coordinator": 1,
    "lag": 0,
    "members": [],
    "partitions": [
      {
        "topic": "orders",
        "partition": 0,
        "committed": 3,
        "start": 0,
        "end": 3,
        "lag": 0,
        "member": ""
      },
      {
        "topic": "orders",
        "partition": 1,
        "committed": 2,
        "start": 0,
        "end": 2,
        "lag": 0,
        "member": ""
      }
    ]
  }
]
$ sluice group describe billing -o yaml
- name: billing
  state: Empty
  protocol: ""
  coordinator: 1
  lag: 0
  members: []
  partitions:
    - topic: orders
      partition: 0
      committed: 3
      start: 0
      end: 3
      lag: 0
      member: ""
    - topic: orders
      partition: 1
      committed: 2
      start: 0
      end: 2
      lag: 0
      member: ""
$ sluice group describe absent
2> sluice: group "absent" does not exist
[exit 3]
$ sluice group describe billing absent
Group:        billing
State:        Empty
Protocol:     -
Coordinator:  1
Lag:          0
Members:      0
.
TOPIC   PARTITION  COMMITTED  END  LAG  MEMBER
orders  0          3          3    0    -
orders  1          2          2    0    -
2> sluice: group "absent" does not exist
[exit 4]

# A reset is a dry run, until it is told otherwise.

$ sluice group reset-offsets billing --all-topics --to start
TOPIC   PARTITION  CURRENT  TARGET  CHANGE         LAG AFTER  NOTE
orders  0          3        0       reads 3 again  3          -
orders  1          2        0       reads 2 again  2          -
.
Group billing: 2 partitions, reads 5 records again and skips 0; lag after: 5.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets billing --topic orders:1 --to start --execute
TOPIC   PARTITION  CURRENT  TARGET  CHANGE         LAG AFTER  NOTE
orders  1          2        0       reads 2 again  2          -
.
Group billing: 1 partition, reads 2 records again and skips 0; lag after: 2.
Done.
$ sluice group describe billing
Group:        billing
State:        Empty
Protocol:     -
Coordinator:  1
Lag:          2
Members:      0
.
TOPIC   PARTITION  COMMITTED  END  LAG  MEMBER
orders  0          3          3    0    -
orders  1          0          2    2    -
$ sluice group reset-offsets billing --topic orders --shift-by -1 -o json
{
  "group": "billing",
  "executed": false,
  "replayed": 1,
  "skipped": 0,
  "lag_after": 3,
  "partitions": [
    {
      "topic": "orders",
      "partition": 0,
      "current": 3,
      "target": 2,
      "replayed": 1,
      "skipped": 0,
      "lag_after": 1
    },
    {
      "topic": "orders",
      "partition": 1,
      "current": 0,
      "target": 0,
      "replayed": 0,
      "skipped": 0,
      "lag_after": 2,
      "note": "before the start"
    }
  ]
}
$ sluice group reset-offsets billing --topic orders --shift-by 7 -o yaml
group: billing
executed: false
replayed: 0
skipped: 2
lag_after: 0
partitions:
  - topic: orders
    partition: 0
    current: 3
    target: 3
    replayed: 0
    skipped: 0
    lag_after: 0
    note: past the end
  - topic: orders
    partition: 1
    current: 0
    target: 2
    replayed: 0
    skipped: 2
    lag_after: 0
    note: past the end
$ sluice group reset-offsets billing --all-topics --to 1
TOPIC   PARTITION  CURRENT  TARGET  CHANGE         LAG AFTER  NOTE
orders  0          3        1       reads 2 again  2          -
orders  1          0        1       skips 1        1          -
.
Group billing: 2 partitions, reads 2 records again and skips 1; lag after: 3.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets billing --all-topics --to 9
TOPIC   PARTITION  CURRENT  TARGET  CHANGE   LAG AFTER  NOTE
orders  0          3        3       none     0          past the end
orders  1          0        2       skips 2  0          past the end
.
Group billing: 2 partitions, reads 0 records again and skips 2; lag after: 0.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets billing --all-topics --to -1
TOPIC   PARTITION  CURRENT  TARGET  CHANGE         LAG AFTER  NOTE
orders  0          3        2       reads 1 again  1          -
orders  1          0        1       skips 1        1          -
.
Group billing: 2 partitions, reads 1 record again and skips 1; lag after: 2.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets billing --all-topics --to +1
TOPIC   PARTITION  CURRENT  TARGET  CHANGE         LAG AFTER  NOTE
orders  0          3        1       reads 2 again  2          -
orders  1          0        1       skips 1        1          -
.
Group billing: 2 partitions, reads 2 records again and skips 1; lag after: 3.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets billing --all-topics --to @-1h
TOPIC   PARTITION  CURRENT  TARGET  CHANGE         LAG AFTER  NOTE
orders  0          3        0       reads 3 again  3          -
orders  1          0        0       none           2          -
.
Group billing: 2 partitions, reads 3 records again and skips 0; lag after: 5.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets billing --all-topics --to end
TOPIC   PARTITION  CURRENT  TARGET  CHANGE   LAG AFTER  NOTE
orders  0          3        3       none     0          -
orders  1          0        2       skips 2  0          -
.
Group billing: 2 partitions, reads 0 records again and skips 2; lag after: 0.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets billing --all-topics --to-current --to-file FOLDER/before.csv
TOPIC   PARTITION  CURRENT  TARGET  CHANGE  LAG AFTER  NOTE
orders  0          3        3       none    0          -
orders  1          0        0       none    2          -
.
Group billing: 2 partitions, reads 0 records again and skips 0; lag after: 2.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets billing --all-topics --to end --execute --to-file FOLDER/end.json
TOPIC   PARTITION  CURRENT  TARGET  CHANGE   LAG AFTER  NOTE
orders  0          3        3       none     0          -
orders  1          0        2       skips 2  0          -
.
Group billing: 2 partitions, reads 0 records again and skips 2; lag after: 0.
Done.
$ sluice group reset-offsets billing --from-file FOLDER/before.csv --execute
TOPIC   PARTITION  CURRENT  TARGET  CHANGE         LAG AFTER  NOTE
orders  0          3        3       none           0          -
orders  1          2        0       reads 2 again  2          -
.
Group billing: 2 partitions, reads 2 records again and skips 0; lag after: 2.
Done.
$ sluice group reset-offsets billing --from-file FOLDER/end.json
TOPIC   PARTITION  CURRENT  TARGET  CHANGE   LAG AFTER  NOTE
orders  0          3        3       none     0          -
orders  1          0        2       skips 2  0          -
.
Group billing: 2 partitions, reads 0 records again and skips 2; lag after: 0.
A dry run: nothing was changed. Add --execute to do it.
$ printf 'orders,1,2\n' | sluice group reset-offsets billing --from-file -
TOPIC   PARTITION  CURRENT  TARGET  CHANGE   LAG AFTER  NOTE
orders  1          0        2       skips 2  0          -
.
Group billing: 1 partition, reads 0 records again and skips 2; lag after: 0.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets fresh --topic orders --to-current
TOPIC  PARTITION  CURRENT  TARGET  CHANGE  LAG AFTER  NOTE
.
Group fresh: 0 partitions, reads 0 records again and skips 0; lag after: 0.
Left out, since nothing is committed there: 2 partitions.
There is no such group yet: --execute makes it.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets fresh --topic orders --to 1
TOPIC   PARTITION  CURRENT  TARGET  CHANGE  LAG AFTER  NOTE
orders  0          -        1       new     2          -
orders  1          -        1       new     1          -
.
Group fresh: 2 partitions, reads 0 records again and skips 0; lag after: 3.
There is no such group yet: --execute makes it.
A dry run: nothing was changed. Add --execute to do it.
$ sluice group reset-offsets fresh --topic orders:1 --to 1 --execute
TOPIC   PARTITION  CURRENT  TARGET  CHANGE  LAG AFTER  NOTE
orders  1          -        1       new     1          -
.
Group fresh: 1 partition, reads 0 records again and skips 0; lag after: 1.
Done.
$ sluice group reset-offsets fresh --topic orders --to-current
TOPIC   PARTITION  CURRENT  TARGET  CHANGE  LAG AFTER  NOTE
orders  1          1        1       none    1          -
.
Group fresh: 1 partition, reads 0 records again and skips 0; lag after: 1.
Left out, since nothing is committed there: 1 partition.
A dry run: nothing was changed. Add --execute to do it.
$ sluice consume orders -G fresh -O end -e -f '%p %o %s\n'
1 1 e
$ sluice group ls
GROUP    STATE  TYPE      COORDINATOR
billing  Empty  consumer  1
fresh    Empty  consumer  1

# What goes wrong.

$ sluice group reset-offsets billing
2> sluice: where to? Want one of --to, --shift-by, --to-current and --from-file
[exit 2]
$ sluice group reset-offsets billing --to start
2> sluice: which partitions? Want --topic TOPIC[:PARTITION,…] or --all-topics
[exit 2]
$ sluice group reset-offsets billing --to start --all-topics --topic orders
2> sluice: which partitions? Want --topic TOPIC[:PARTITION,…] or --all-topics
[exit 2]
$ sluice group reset-offsets billing --to start --to-current --all-topics
2> sluice: where to? Want one of --to, --shift-by, --to-current and --from-file
[exit 2]
$ sluice group reset-offsets billing --to earliest --all-topics
2> sluice: --to "earliest": say start
[exit 2]
$ sluice group reset-offsets billing --to start --topic orders:x
2> sluice: --topic "orders:x": "x" is no partition: want TOPIC or TOPIC:0,1
[exit 2]
$ sluice group reset-offsets billing --to start --topic orders:7
2> sluice: topic "orders" has no partition 7: it has 2 partitions
[exit 3]
$ sluice group reset-offsets billing --to start --topic absent
2> sluice: topic "absent" does not exist
[exit 3]
$ sluice group reset-offsets billing --shift-by all --topic orders
2> sluice: --shift-by "all": want a number, such as 100 or -100
[exit 2]
$ sluice group reset-offsets nobody --to start --all-topics
2> sluice: group "nobody" has no committed offsets: name topics with --topic
[exit 3]
$ sluice group reset-offsets nobody --to-current --topic orders --execute
2> sluice: group "nobody" has committed nothing there to go by: use --to
[exit 3]
$ sluice group reset-offsets billing --from-file FOLDER/absent.csv
2> sluice: --from-file FOLDER/absent.csv: no such file or directory
[exit 2]
$ printf 'orders;1;2\n' | sluice group reset-offsets billing --from-file -
2> sluice: --from-file -: want lines of topic,partition,offset: record on line 1: wrong number of fields
[exit 2]
$ printf 'orders,1,2\norders,1,3\n' | sluice group reset-offsets billing --from-file -
2> sluice: --from-file -: orders [1] is named twice
[exit 2]
$ printf 'orders,1,-2\n' | sluice group reset-offsets billing --from-file -
2> sluice: --from-file -: orders [1] at -2: want a topic, and numbers of zero or more
[exit 2]
$ printf '' | sluice group reset-offsets billing --from-file -
2> sluice: --from-file -: it names no partition
[exit 2]
$ printf '[{"topik":"orders"}]' | sluice group reset-offsets billing --from-file -
2> sluice: --from-file -: want [{"topic":"t","partition":0,"offset":7}]: json: unknown field "topik"
[exit 2]
$ printf 'orders,1,2\n' | sluice group reset-offsets billing --from-file - --all-topics
2> sluice: --from-file names the partitions: leave --topic and --all-topics out
[exit 2]
$ sluice group reset-offsets
2> sluice: accepts 1 arg(s), received 0 (see sluice group reset-offsets --help)
[exit 2]
$ sluice consume orders -G billing -p 1
2> sluice: --group and --partition: a group's partitions are shared out among its members
[exit 2]
$ sluice consume orders -G billing -O 7
2> sluice: --offset 7 with --group: an offset of one partition says nothing for others: use `sluice group reset-offsets`
[exit 2]
$ sluice consume absent -G billing -e
2> sluice: topic "absent" does not exist
[exit 3]
