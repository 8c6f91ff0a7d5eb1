"""Runs the test binaries of the workspace, several at a time: whole-system scenarios mostly wait. Prints the output of each when it has ended.

    python3 tests/run_parallel.py UNSTABLE

A scenario with platforms, agents and several processes on two busy cores can be delayed beyond its timeouts. Failed binaries run once more, alone:
real failures fail again; the names of the others are written to the file UNSTABLE.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Concurrent tests of one binary, and concurrent binaries.
THREADS = "4"
BINARIES = 3
# With more failed binaries than this, the code is broken, not the machine slow.
MOST_AGAIN = 2
# The longest start first.
FIRST = ("long_connections", "every_platform", "lambda", "platforms", "message_cost", "models", "command_line", "api")
# Binaries that measure times, or how much of a flood passes until it is cut off.
ALONE = ("attacks", "connections", "loopback", "timing")
# The longest takes five minutes.
LIMIT_S = 40 * 60


def built():
    """Builds the test binaries. Returns the name, the package's folder, and the path of each."""
    command = ("cargo", "test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    messages = map(json.loads, done.stdout.splitlines())
    binaries = [it for it in messages if it["reason"] == "compiler-artifact" and it["profile"]["test"] and it["executable"]]
    return [(it["target"]["name"], Path(it["manifest_path"]).parent, it["executable"]) for it in binaries]


def run(binary):
    """Returns whether all tests of a binary passed."""
    name, folder, path = binary
    environment = dict(os.environ, CARGO_MANIFEST_DIR=str(folder), RUST_TEST_THREADS=THREADS)
    began = time.monotonic()
    try:
        done = subprocess.run([path], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as expired:
        output, code = expired.stdout or b"", "none: it has not ended"
    took = time.monotonic() - began
    text = output.decode(errors="replace").strip()
    print(f"\n-- {name} of {folder.name}, {took:.0f} s, exit code {code}\n{text}", flush=True)
    return code == 0


def main():
    binaries = built()
    rank = {name: number for number, name in enumerate(FIRST)}
    binaries.sort(key=lambda binary: rank.get(binary[0], len(FIRST)))
    together = [binary for binary in binaries if binary[0] not in ALONE]
    with ThreadPoolExecutor(BINARIES) as pool:
        results = list(zip(together, pool.map(run, together)))
    results += [(binary, run(binary)) for binary in binaries if binary[0] in ALONE]
    failed = [binary for binary, passed in results if not passed]
    if len(failed) > MOST_AGAIN:
        sys.exit(f"{len(failed)} test binaries failed, at most {MOST_AGAIN} run again: {', '.join(name for name, _, _ in failed)}")
    unstable = []
    for binary in failed:
        print(f"\n== {binary[0]} again, alone", flush=True)
        if not run(binary):
            sys.exit(f"{binary[0]} failed twice")
        unstable.append(binary[0])
    Path(sys.argv[1]).write_text("".join(f"{name}\n" for name in unstable))


main()
