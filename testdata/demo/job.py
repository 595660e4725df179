"""A program with something to lose: threads, a child process, and data that grows.

It writes one line a fifth of a second to its log: how far it is, how many words it has collected, their running checksum
as computed from the whole structure, and what the child counted. Every line is checked against what it must be.
"""
import hashlib
import os
import queue
import sys
import threading
import time

log = sys.argv[1]
words = []            # grows by one a step
jobs = queue.Queue()  # main thread -> workers
done = queue.Queue()  # workers -> main thread


def worker():
    while True:
        n = jobs.get()
        done.put((n, hashlib.sha256(b"word %d" % n).hexdigest()[:8]))


def child(numbers, answers):
    """Adds up what it is told, one number a line."""
    total = 0
    with open(numbers) as lines, open(answers, "w", buffering=1) as out:
        for line in lines:
            total += int(line)
            print(total, file=out)


def start_child():
    down_r, down_w = os.pipe()
    up_r, up_w = os.pipe()
    if os.fork() == 0:
        os.close(down_w)
        os.close(up_r)
        child(down_r, up_w)
        os._exit(0)
    os.close(down_r)
    os.close(up_w)
    return open(down_w, "w", buffering=1), open(up_r)


def say(line):
    with open(log, "a") as out:
        print(line, file=out)


def main():
    numbers, totals = start_child()
    for _ in range(3):
        threading.Thread(target=worker, daemon=True).start()
    step = 0
    while True:
        step += 1
        jobs.put(step)
        words.append(done.get())
        print(step, file=numbers)
        total = int(totals.readline())
        whole = all(w == hashlib.sha256(b"word %d" % n).hexdigest()[:8] for n, w in words)
        intact = whole and len(words) == step and total == step * (step + 1) // 2
        say(f"step {step:4}: {len(words):4} words, child's sum {total:6}, {'all intact' if intact else 'DAMAGED'}")
        time.sleep(0.2)


main()
