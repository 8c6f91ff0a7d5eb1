"""Runs all tests of the workspace, several test programs at a time: whole-system scenarios mostly wait, so one after the other they would leave the
processor idle most of the time. Prints the output of each when it has ended.

    python3 tests/side_by_side.py UNSTABLE

A scenario with platforms, agents and several processes on two busy cores can be delayed beyond its timeouts. Failed programs run once more, alone:
real failures fail again; the names of the others are written to the file UNSTABLE.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Scenarios of one program that run concurrently, and programs that do.
THREADS = "4"
PROGRAMS = 3
# With more failures than this, the code is broken and not the machine slow.
MOST_AGAIN = 4
# The longest programs start first.
FIRST = ("long_connections", "every_platform", "lambda", "platforms", "message_cost", "models", "command_line", "api")
# Programs that measure times or memory.
ALONE = ("timing",)
# A program that takes ten times as long as the longest hangs.
LIMIT_S = 40 * 60


def built():
    """All test programs: name, folder of the package, path."""
    command = ("cargo", "test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    messages = map(json.loads, done.stdout.splitlines())
    programs = [it for it in messages if it["reason"] == "compiler-artifact" and it["profile"]["test"] and it["executable"]]
    return [(it["target"]["name"], Path(it["manifest_path"]).parent, it["executable"]) for it in programs]


def run(program):
    """Whether a test program succeeded."""
    name, folder, path = program
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
    programs = built()
    rank = {name: number for number, name in enumerate(FIRST)}
    programs.sort(key=lambda program: rank.get(program[0], len(FIRST)))
    together = [program for program in programs if program[0] not in ALONE]
    with ThreadPoolExecutor(PROGRAMS) as pool:
        results = list(zip(together, pool.map(run, together)))
    results += [(program, run(program)) for program in programs if program[0] in ALONE]
    failed = [program for program, passed in results if not passed]
    if len(failed) > MOST_AGAIN:
        sys.exit(f"{len(failed)} test programs failed: {', '.join(name for name, _, _ in failed)}")
    unstable = []
    for program in failed:
        print(f"\n== again, alone: {program[0]}", flush=True)
        if not run(program):
            sys.exit(f"{program[0]} failed twice")
        unstable.append(program[0])
    Path(sys.argv[1]).write_text("".join(f"{name}\n" for name in unstable))


main()
