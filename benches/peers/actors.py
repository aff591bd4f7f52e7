"""Messages and spawning: rusm, and beside it any program that measures the same of airssys-wasm.

    python actors.py "RUSM_BENCH GUEST.wasm" ["OUR_BENCH ..."]

Each program prints lines `[name.]key value`, with the keys below; they run in turns.
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
from typing import Dict, List

RUNS = 3

# The keys, in words, and whether more is better.
KEYS = {
    "pingpong_ns": ("a message between two, in turns", False),
    "accept_per_s": ("messages accepted from a host thread", True),
    "consume_per_s": ("the same, until they are handled", True),
    "spawn_ns": ("start and end of one, one after another", False),
    "spawn_many_ns": ("start and end of one, many at once", False),
    "spawn_many_threads_ns": ("the same, from a host thread for each core", False),
}

# What stands for a key that a peer does not have: its one host thread keeps all cores busy.
STANDS_FOR = {"spawn_many_threads_ns": "spawn_many_ns"}

Samples = Dict[str, Dict[str, List[float]]]


def run(command: str, samples: Samples) -> None:
    lines = subprocess.run(
        shlex.split(command), check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()
    for line in lines:
        key, _, value = line.partition(" ")
        name, _, key = key.rpartition(".")
        if key in KEYS:
            samples.setdefault(name or "airssys", {}).setdefault(key, []).append(float(value))


def shown(key: str, value: float) -> str:
    if key.endswith("_ns"):
        return f"{value / 1e3:.2f} µs" if value >= 1e3 else f"{value:.0f} ns"
    return f"{value / 1e6:.2f} million/s"


def main() -> None:
    peers: Samples = {}
    ours: Samples = {}
    for turn in range(RUNS):
        print(f"    run {turn + 1} of {RUNS}", file=sys.stderr, flush=True)
        run(sys.argv[1], peers)
        for command in sys.argv[2:]:
            run(command, ours)

    columns = [f"rusm-{name}" for name in peers]
    for name in ours:
        columns += [name] + [f"{name} to {peer}" for peer in columns[: len(peers)]]
    print(f"Medians of {RUNS} runs.", end="")
    print(" A ratio above 1: airssys does better.\n" if ours else "\n")
    print("| what | " + " | ".join(columns) + " |")
    print("| --- " * (len(columns) + 1) + "|")
    for key, (words, more_is_better) in KEYS.items():
        theirs = [side.get(key) or side[STANDS_FOR[key]] for side in peers.values()]
        cells = [shown(key, statistics.median(samples)) for samples in theirs]
        for side in ours.values():
            mine = side.get(key)
            cells.append(shown(key, statistics.median(mine)) if mine else "")
            for samples in theirs:
                pairs = zip(mine or [], samples)
                ratios = [a / b if more_is_better else b / a for a, b in pairs]
                cells.append(f"{statistics.median(ratios):.2f}" if ratios else "")
        print(f"| {words} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
