"""What the Python drivers have in common: arguments, and the lines that they print.

A driver is called as SCRIPT VERB KEY=VALUE... with one of these verbs:

  produce   count records into partition i with codec i of codecs; prints "acked PARTITION OFFSET"
  drain     every record of a topic from its start, until count; prints "record ..."
  seek      goes to each position of at, prints "position AT OFFSET" and what it reads there first
  member    a group member that commits what it read; ends when its input does
  admin     a fixed life of a topic and a group; prints what it saw
"""

import sys
import threading
import time
import zlib

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def arguments():
    return sys.argv[1], dict(a.split("=", 1) for a in sys.argv[2:])


def say(*words):
    sys.stdout.write(" ".join(str(w) for w in words) + "\n")
    sys.stdout.flush()


def text(b):
    return "-" if b is None else b.decode()


def say_record(partition, offset, timestamp, key, value, headers):
    header = text(dict(headers).get("codec")) if headers else "-"
    say("record", partition, offset, timestamp, text(key), len(value), "%08x" % zlib.crc32(value), header)


def say_assigned(partitions):
    say("assigned", ",".join(str(p) for p in sorted(partitions)) or "-")


def records(args, codec):
    """The records that produce writes: key, value, headers, timestamp."""
    for i in range(int(args["count"])):
        value = f"{codec}-{i}-" + "x" * 1000
        yield f"k{i}".encode(), value.encode(), [("codec", codec.encode())], int(args["time"]) + i * int(args["step"])


def input_ended():
    """An event that is set when the standard input ends."""
    ended = threading.Event()

    def wait():
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


def until(want, ask):
    """Asks until the answer is wanted, but not for ever: Kafka's brokers learn of a change after it was acknowledged."""
    deadline = time.monotonic() + 10
    while True:
        try:
            answer = ask()
        except Exception as e:
            answer = type(e).__name__
        if answer == want or time.monotonic() > deadline:
            return answer
        time.sleep(0.05)
