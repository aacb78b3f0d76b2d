#!/usr/bin/env python3
"""Measures what a run costs and how well it fills the models, and prints a table.

usage: benches/figures.py PROMPTS [--avr target/release/avr] [--spread 0.1] [--malformed 0] [--repeat 3]

PROMPTS is a file of prompts as `avr run` takes it. Three measurements, each against `avr simulate` in a process of
its own (the models are simulated in all of them):

  instant   models that answer at once: CPU of the whole `avr run` process for each chat call, and peak memory
  batching  eight replicas of 256 slots, 9 ms + 0.045 ms for each running sequence a decode step: the share of
            generative slots in use between the first call and the last answer. Answers are of about 280 tokens;
            a wide --spread or --malformed ratings leave a tail of few calls at the end, which no dispatch can fill
  start     time from the start of the process to the first call that a model sees
"""

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path


class Cluster:
    """`avr simulate` with its options, for as long as the block lasts."""

    def __init__(self, avr, folder, *options):
        ready = Path(folder) / "ready.json"
        ready.unlink(missing_ok=True)
        command = [avr, "simulate", "--ready-file", str(ready), "--count-ids", "false", *map(str, options)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not ready.exists():
            if self.process.poll() is not None:
                raise SystemExit("avr simulate ended before it was ready")
            time.sleep(0.005)
        self.urls = json.loads(ready.read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def stats(self):
        with urllib.request.urlopen(self.urls["generators"][0] + "/simulate/stats") as answer:
            return json.load(answer)

    def arguments(self):
        arguments = ["--generator-model", "simulated-chat", "--reward-model", "simulated-reward"]
        for role, urls in (("--generator", "generators"), ("--reward", "rewards")):
            for url in self.urls[urls]:
                arguments += [role, url]
        return arguments


def run(avr, cluster, prompts, folder, *more):
    """One `avr run` to its end: seconds, CPU seconds, peak memory in MiB."""
    out = tempfile.mkdtemp(dir=folder)
    command = [avr, "run", *cluster.arguments(), "--out", out, "--progress", "none", "--set", "observe.listen=127.0.0.1:0"]
    started = time.monotonic()
    process = subprocess.Popen([*command, *more, prompts], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.monotonic() - started
    if status != 0:
        raise SystemExit(f"avr run ended with status {status}")
    return elapsed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def instant(arguments, folder):
    with Cluster(arguments.avr, folder, "--latency", "instant") as cluster:
        elapsed, cpu, memory = run(arguments.avr, cluster, arguments.prompts, folder)
        calls = cluster.stats()
    chat = calls["chat_requests"]
    return {
        "chat calls": chat,
        "reward calls": calls["pooling_requests"],
        "CPU a chat call, ms": cpu * 1000 / chat,
        "peak memory, MiB": memory,
        "seconds": elapsed,
    }


def batching(arguments, folder):
    options = ["--latency", "batching", "--generators", 8, "--rewards", 4, "--slots", 256, "--step-ms", 9]
    options += ["--step-ms-per-sequence", 0.045, "--mean-tokens", 280, "--spread", arguments.spread]
    options += ["--malformed-rating-rate", arguments.malformed]
    with Cluster(arguments.avr, folder, *options) as cluster:
        elapsed, cpu, memory = run(arguments.avr, cluster, arguments.prompts, folder)
        stats = cluster.stats()
    return {
        "slots in use, %": stats["slot_utilisation"] * 100,
        "peak memory, MiB": memory,
        "CPU a chat call, ms": cpu * 1000 / stats["chat_requests"],
        "tokens an answer": stats["completion_tokens"] / stats["chat_requests"],
        "seconds": elapsed,
    }


def start(arguments, folder):
    with Cluster(arguments.avr, folder, "--latency", "instant") as cluster:
        out = tempfile.mkdtemp(dir=folder)
        command = [arguments.avr, "run", *cluster.arguments(), "--out", out, "--progress", "none"]
        command += ["--set", "observe.listen=127.0.0.1:0", arguments.prompts]
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while cluster.stats()["chat_requests"] == 0:
            pass
        first = time.monotonic() - started
        process.wait()
    return {"start to first call, s": first}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts")
    parser.add_argument("--avr", default="target/release/avr")
    parser.add_argument("--spread", type=float, default=0.1, help="of the answers' lengths (sigma of the logarithm); avr simulate itself has 0.5")
    parser.add_argument("--malformed", type=float, default=0.0, help="share of critiques without a rating, asked again; avr simulate itself has 0.03")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=["instant", "batching", "start"])
    arguments = parser.parse_args()
    measurements = {"instant": instant, "batching": batching, "start": start}
    print(f"{'measurement':<12}{'figure':<26}" + "".join(f"{f'run {n + 1}':>12}" for n in range(arguments.repeat)))
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in measurements.items():
            if arguments.only not in (None, name):
                continue
            runs = [measure(arguments, folder) for _ in range(arguments.repeat)]
            for figure in runs[0]:
                print(f"{name:<12}{figure:<26}" + "".join(f"{r[figure]:>12.3f}" for r in runs), flush=True)


if __name__ == "__main__":
    main()
