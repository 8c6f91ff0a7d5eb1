"""Runs the test binaries of the workspace, several at a time: whole-system scenarios mostly wait. Prints the output of each when it has ended.

    python3 tests/run_parallel.py UNSTABLE [OPTIONS OF CARGO TEST]

A scenario with platforms, agents and several processes on two busy cores can be delayed beyond its timeouts. Failed tests run once more, one at a
time: real failures fail again; the names of the others are written to the file UNSTABLE.
"""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Concurrent tests of one binary, and concurrent binaries.
THREADS = "4"
BINARIES = 3
# With more failed tests than this, the code is broken, not the machine slow.
MOST_AGAIN = 5
# The harness lists failed tests at the end of its output.
FAILED = re.compile(r"^failures:\n((?:    \S+\n)+)", re.MULTILINE)
# The longest start first.
FIRST = ("long_connections", "every_platform", "lambda", "platforms", "message_cost", "models", "command_line", "api")
# Binaries that measure times, or how much of a flood passes until it is cut off.
ALONE = ("attacks", "connections", "loopback", "timing")
# The longest takes five minutes.
LIMIT_S = 40 * 60


def built():
    """Builds the test binaries. Returns the name, the package's folder, and the path of each."""
    command = ("cargo", "test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics", *sys.argv[2:])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    messages = map(json.loads, done.stdout.splitlines())
    binaries = [it for it in messages if it["reason"] == "compiler-artifact" and it["profile"]["test"] and it["executable"]]
    return [(it["target"]["name"], Path(it["manifest_path"]).parent, it["executable"]) for it in binaries]


def run(binary, threads=THREADS, only=()):
    """Runs a binary, or `only` these of its tests. Returns the failed tests; all of them (`["*"]`) if it crashed or did not end."""
    name, folder, path = binary
    environment = dict(os.environ, CARGO_MANIFEST_DIR=str(folder), RUST_TEST_THREADS=threads)
    command = [path, "--exact", *only] if only else [path]
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as expired:
        output, code = expired.stdout or b"", "none: it has not ended"
    took = time.monotonic() - began
    text = output.decode(errors="replace").strip()
    print(f"\n-- {name} of {folder.name}, {took:.0f} s, exit code {code}\n{text}", flush=True)
    if code == 0:
        return []
    listed = FAILED.findall(text + "\n")
    return listed[-1].split() if listed else ["*"]


def main():
    binaries = built()
    rank = {name: number for number, name in enumerate(FIRST)}
    binaries.sort(key=lambda binary: rank.get(binary[0], len(FIRST)))
    together = [binary for binary in binaries if binary[0] not in ALONE]
    with ThreadPoolExecutor(BINARIES) as pool:
        results = list(zip(together, pool.map(run, together)))
    results += [(binary, run(binary)) for binary in binaries if binary[0] in ALONE]
    failed = [(binary, test) for binary, tests in results for test in tests]
    names = ", ".join(f"{name}: {test}" for (name, _, _), test in failed)
    if len(failed) > MOST_AGAIN:
        sys.exit(f"{len(failed)} tests failed, at most {MOST_AGAIN} run again: {names}")
    for binary, test in failed:
        print(f"\n== {test} of {binary[0]} again, alone", flush=True)
        if run(binary, threads="1", only=() if test == "*" else (test,)):
            sys.exit(f"{test} of {binary[0]} failed twice")
    Path(sys.argv[1]).write_text("".join(f"{name}: {test}\n" for (name, _, _), test in failed))


main()
