# In and out: lines, keys, headers, nulls.

$ sluice topic create one -p 1
TOPIC  STATUS   PARTITIONS  REPLICAS
one    created  1           1
$ sluice topic create three -p 3
TOPIC  STATUS   PARTITIONS  REPLICAS
three  created  3           1
$ printf 'hello\nworld\n' | sluice produce one
$ sluice consume one -e
hello
world
$ printf 'k1:v1\nk2:v2:more\nno key\n:empty key\n\n' | sluice produce one -K :
$ sluice consume one -O 2 -e -f '%o %K(%k) %S(%s)\n'
2 2(k1) 2(v1)
3 2(k2) 7(v2:more)
4 -1() 6(no key)
5 0() 9(empty key)
6 -1() 0()
$ sluice consume one -O 2 -e -K ' => ' -Z
k1 => v1
k2 => v2:more
NULL => no key
 => empty key
NULL => 
$ printf 'x;;y' | sluice produce one -D ';' -Z -k fixed -H a=1 -H b= -H c
$ sluice consume one -O -3 -e -f '%k %S %h\n'
fixed 1 a=1,b=,c=NULL
fixed -1 a=1,b=,c=NULL
fixed 1 a=1,b=,c=NULL
$ printf '1772352000000 k v\n1772352000001 k w\n' | sluice produce three -f '%T %k %s\n' -o table
TOPIC  PARTITION  RECORDS  FIRST OFFSET  LAST OFFSET
three  2          2        0             1
$ printf '2 to two\n0 to naught\n' | sluice produce three -f '%p %s' -o json
[
  {
    "topic": "three",
    "partition": 0,
    "records": 1,
    "first_offset": 0,
    "last_offset": 0
  },
  {
    "topic": "three",
    "partition": 2,
    "records": 1,
    "first_offset": 2,
    "last_offset": 2
  }
]
$ sluice consume three -p 0 -e -f '%t [%p] %o: %s %%\x41\t|\n'
three [0] 0: to naught %A	|
$ sluice consume three -p 2 -e -f '%t [%p] %o: %s %%\x41\t|\n'
three [2] 0: v %A	|
three [2] 1: w %A	|
three [2] 2: to two %A	|
$ printf '1 7 %%:\\x\n' | sluice produce -f '%K %k%S %s'
2> sluice: which topic? Name it, or have it in the input (-J, or %t in -f)
[exit 2]

# Three formats.

$ sluice consume three -p 1 -e -J
$ sluice consume three -p 1 -e -o json
$ sluice consume three -p 1 -e -o yaml
$ printf '1772352000000 k v\n' | sluice produce one -f '%T %k %s'
$ sluice consume one -O -1 -e -o table
TOPIC                    PARTITION     OFFSET  TIME                      KEY              VALUE
one                              0         10  2026-00-00T00:00:00.000Z  k                v

# Round trips of any bytes.

$ printf '1 k2 \x00\xff\n-1 0 \n3 a\nb-1 \n' | sluice produce three -p 0 -f '%K %k%S %s\n' -H bytes=x
$ sluice consume three -p 0 -O -3 -e -f '%K %k%S %s\n' | sluice produce one -f '%K %k%S %s\n'
$ sluice consume one -O -3 -e -f '%K %S\n'
1 2
-1 0
3 -1
$ sluice consume three -p 0 -O -3 -e -J
{"topic":"three","partition":0,"offset":1,"tstype":"create","ts":NOW-IN-MS-NOW,"headers":["bytes","x"],"key":"k","payload":null,"payload_base64":"AP8="}
{"topic":"three","partition":0,"offset":2,"tstype":"create","ts":NOW-IN-MS-NOW,"headers":["bytes","x"],"key":null,"payload":""}
{"topic":"three","partition":0,"offset":3,"tstype":"create","ts":NOW-IN-MS-NOW,"headers":["bytes","x"],"key":"a\nb","payload":null}
$ sluice consume three -p 0 -O -3 -e -J | sluice produce -J -o table -p 2
TOPIC  PARTITION  RECORDS  FIRST OFFSET  LAST OFFSET
three  2          3        3             5
$ sluice consume three -p 2 -O -3 -e -f '%t %K %S %h\n'
three 1 2 bytes=x
three -1 0 bytes=x
three 3 -1 bytes=x

# Where to start.

$ sluice topic create ten -p 1
TOPIC  STATUS   PARTITIONS  REPLICAS
ten    created  1           1
$ printf '1000 a\n2000 b\n3000 c\n4000 d\n5000 e\n6000 f\n7000 g\n8000 h\n9000 i\n10000 j\n' | sluice produce ten -f '%T %s'
$ sluice consume ten -O end -e
$ sluice consume ten -O start -c 2
a
b
$ sluice consume ten -O 7 -e
h
i
j
$ sluice consume ten -O +8 -e
i
j
$ sluice consume ten -O -2 -e
i
j
$ sluice consume ten -O -99 -c 1
a
$ sluice consume ten -O 99 -e
2> ten [0]: 99 is past the end: reading from 10
$ sluice consume ten -O +99 -e
2> ten [0]: +99 is past the end: reading from 10
$ sluice consume ten -O @8500 -e
i
j
$ sluice consume ten -O @1970-01-01T00:00:10Z -e
j
$ sluice consume ten -O @-1h -e

# What goes wrong.

$ sluice consume absent -e
2> sluice: topic "absent" does not exist
[exit 3]
$ sluice consume ten -p 4 -e
2> sluice: topic "ten" has no partition 4: it has 1 partition
[exit 3]
$ sluice consume ten -O beginning
2> sluice: --offset "beginning": say start
[exit 2]
$ sluice consume ten -O 1x
2> sluice: --offset "1x": want start, end, N, +N, -N, @TIME or @-AGE, such as 1500, -10, @2026-03-01T08:00:00Z or @-1h
[exit 2]
$ sluice consume ten -o beginning
2> sluice: invalid argument "beginning" for "-o, --output" flag: want table, json or yaml; where to start is -O (see sluice consume --help)
[exit 2]
$ sluice consume ten -o -5
2> sluice: invalid argument "-5" for "-o, --output" flag: want table, json or yaml; where to start is -O (see sluice consume --help)
[exit 2]
$ sluice consume ten -f '%q'
2> sluice: -f: format: "%q" is no letter: known are %s %k %h %t %p %o %T %S %K %R and %%
[exit 2]
$ sluice consume ten -f '\q'
2> sluice: -f: "\\q" is no escape: known are \n \r \t \\ \xNN
[exit 2]
$ sluice consume ten -J -K :
2> sluice: -f, -K, -J and -o are ways to print a record: want one
[exit 2]
$ sluice consume ten -c -1
2> sluice: --count -1: want a number of records
[exit 2]
$ sluice consume
2> sluice: requires at least 1 arg(s), only received 0 (see sluice consume --help)
[exit 2]
$ printf 'x' | sluice produce ten -p 4
2> sluice: topic "ten" has no partition 4: it has 1 partition
[exit 3]
$ printf '4 x' | sluice produce ten -f '%p %s'
2> sluice: topic "ten" has no partition 4
[exit 3]
$ printf 'x' | sluice produce ten -z brotli
2> sluice: -z "brotli": want none, gzip, snappy, lz4, zstd
[exit 2]
$ printf 'x' | sluice produce
2> sluice: which topic? Name it, or have it in the input (-J, or %t in -f)
[exit 2]
$ printf 'x' | sluice produce ten -f '%k%s'
2> sluice: -f: format: %k and %s need text between them, to tell where the first one ends
[exit 2]
$ printf 'x' | sluice produce ten -f '%o\n'
2> sluice: -f: format: it has neither %s nor %k, so there is nothing to send
[exit 2]
$ printf 'x' | sluice produce ten -f '%s' -J
2> sluice: -K, -f and -J are three ways to read the input: want one
[exit 2]
$ printf 'a b c' | sluice produce ten -f '%k %s\n%h\n'
2> sluice: standard input: record 1: %s: the input ends before "\n"
[exit 1]
$ printf 'good 1 x\nbad x y\n' | sluice produce ten -f '%k %S %s\n'
2> sluice: standard input: record 2: %S: "x" is no number (acknowledged before: 1 record; not: 0)
[exit 4]
$ printf '5 abc' | sluice produce ten -f '%S %s'
2> sluice: standard input: record 1: %s: the input ends after 3 of 5 bytes
[exit 1]
$ printf '{"payload":"x"}\n{"payload":\n' | sluice produce ten -J
2> sluice: standard input: record 2: no JSON envelope: unexpected end of JSON input (acknowledged before: 1 record; not: 0)
[exit 4]
$ printf '{"payload":"x"}\n' | sluice produce -J
2> sluice: standard input: record 1: it names no topic
[exit 2]
$ printf 'x' | sluice produce ten -H =x
2> sluice: -H: header "=x": want NAME=VALUE, or NAME for a null value
[exit 2]
$ printf 'x' | sluice produce 'bad name'
2> sluice: topic "bad name": The request attempted to perform an operation on an invalid topic (INVALID_TOPIC_EXCEPTION)
[exit 1]
