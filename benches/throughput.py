#!/usr/bin/env python3
"""Measures how many threads a second come through the whole pipeline, and what CPU each takes, and prints a table.

usage: benches/throughput.py PROMPTS [--kafka HOST:PORT,…] [--threads 5000] [--avr target/release/avr] [--repeat 1]

PROMPTS is a file of JSON Lines with `prompt`; its prompts are used again and again, each time under another id, until
there are --threads. The models are simulated and answer at once, in a process of their own whose CPU is not counted.
Measured are: the embedded log with 1 and with 4 partitions; and, with --kafka, the cluster with 1 partition and 1
worker, 4 and 1, 4 and 4. Threads are counted from the start of the first worker to the last line in the files. Over
Kafka CPU is that of all workers and of `avr submit`; the brokers' is not counted, but they share the machine.
"""

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from figures import Cluster

QUIET = ["--progress", "none", "--set", "observe.listen=127.0.0.1:0"]


def write_prompts(source, threads, folder):
    """A file of as many different prompts."""
    lines = [json.loads(line) for line in Path(source).read_text().splitlines()]
    path = Path(folder) / "prompts.jsonl"
    with path.open("w") as out:
        for number in range(threads):
            line = {"id": f"p{number}", "prompt": lines[number % len(lines)]["prompt"]}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return str(path)


class Process:
    """A process whose CPU is known when it has ended."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        """Waits; CPU seconds."""
        _, status, usage = os.wait4(self.process.pid, 0)
        if status != 0:
            raise SystemExit(f"{self.process.args} ended with status {status}")
        return usage.ru_utime + usage.ru_stime


def embedded(arguments, cluster, prompts, folder, partitions):
    out = tempfile.mkdtemp(dir=folder)
    started = time.monotonic()
    command = [arguments.avr, "run", *cluster.arguments(), *QUIET, "--out", out, "--set", f"log.partitions={partitions}"]
    cpu = Process([*command, prompts]).end()
    return time.monotonic() - started, cpu


def written(out):
    """Lines in the shards of outcomes."""
    return sum(path.read_bytes().count(b"\n") for path in Path(out, "outcomes").glob("*.jsonl"))


def kafka(arguments, cluster, prompts, folder, partitions, workers):
    out = tempfile.mkdtemp(dir=folder)
    where = ["--kafka", arguments.kafka, "--set", f"kafka.prefix=throughput-{uuid.uuid4().hex[:8]}."]
    where += ["--set", f"kafka.partitions={partitions}"]
    subprocess.run([arguments.avr, "topics", "apply", *where], check=True, stdout=subprocess.DEVNULL)
    command = [arguments.avr, "run", *where, *cluster.arguments(), *QUIET, "--out", out]
    command += ["--set", "export.shard_interval_s=1"]
    started = time.monotonic()
    running = [Process([*command, "--worker", f"worker-{number}"]) for number in range(workers)]
    submitting = Process([arguments.avr, "submit", *where, "--progress", "none", prompts])
    while written(out) < arguments.threads:
        time.sleep(0.05)
    elapsed = time.monotonic() - started
    for worker in running:
        worker.terminate()
    return elapsed, sum(process.end() for process in [*running, submitting])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts")
    parser.add_argument("--avr", default="target/release/avr")
    parser.add_argument("--kafka", help="addresses of a running cluster with three brokers")
    parser.add_argument("--threads", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    cases = [(f"embedded, {n} partition(s)", embedded, (n,)) for n in (1, 4)]
    if arguments.kafka:
        cases += [(f"Kafka, {p} partition(s), {w} worker(s)", kafka, (p, w)) for p, w in ((1, 1), (4, 1), (4, 4))]
    print(f"{'log':<34}{'threads':>9}{'seconds':>9}{'threads/s':>11}{'CPU a thread, ms':>18}")
    with tempfile.TemporaryDirectory() as folder:
        prompts = write_prompts(arguments.prompts, arguments.threads, folder)
        for name, measure, parameters in cases:
            for _ in range(arguments.repeat):
                with Cluster(arguments.avr, folder, "--latency", "instant") as cluster:
                    elapsed, cpu = measure(arguments, cluster, prompts, folder, *parameters)
                rate, each = arguments.threads / elapsed, cpu * 1000 / arguments.threads
                print(f"{name:<34}{arguments.threads:>9}{elapsed:>9.1f}{rate:>11.1f}{each:>18.2f}", flush=True)


if __name__ == "__main__":
    main()
