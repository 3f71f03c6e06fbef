"""Processes that take turns: never two at once, children included, and none is left behind."""

import json
import os
import signal
import sys
import threading
from itertools import pairwise

import psutil
import pytest

from maml_bench.harness.turns import Command, take_turns

WALK = """
import json, os, subprocess, sys, time
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "child"], check=True)
else:
    seen, until = [], time.monotonic() + 2
    while time.monotonic() < until:
        seen.append(time.monotonic())
        time.sleep(0.01)
    print(json.dumps(seen))
"""


@pytest.fixture
def script(tmp_path):
    """A command that runs a Python script."""

    def command(text: str, *arguments: str) -> Command:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        file.write_text(text)
        return Command([sys.executable, str(file), *arguments], os.environ)

    return command


@pytest.mark.parametrize("arguments", [(), ("child",)], ids=["in a child", "itself"])
def test_two_processes_never_run_at_the_same_time(script, arguments):
    one, two = (json.loads(ended.stdout) for ended in take_turns([script(WALK, *arguments)] * 2, 0.3))
    owners = [owner for _, owner in sorted([(t, 1) for t in one] + [(t, 2) for t in two])]
    changes = sum(a != b for a, b in pairwise(owners))
    assert 4 <= changes <= 14, "they change places about every turn, not at every look at the clock"
    assert {1, 2} == set(owners[: len(owners) // 2]) == set(owners[len(owners) // 2 :])


def test_much_output_does_not_block(script):
    (ended,) = take_turns([script("print('x' * 1_000_000)")])
    assert (ended.status, len(ended.stdout), ended.failure) == (0, 1_000_001, "")


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("import sys; print('first', file=sys.stderr); sys.exit('the last line')", "the last line"),
        ("import os; os._exit(3)", "exit status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by signal 9"),
    ],
)
def test_a_failure_says_why_and_does_not_stop_the_other(script, text, failure):
    failed, well = take_turns([script(text), script("print(1)")])
    assert failed.failure == failure
    assert (well.failure, well.stdout) == ("", "1\n")


@pytest.mark.parametrize("moment", [0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6])
def test_an_interruption_leaves_no_process_behind(script, moment):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs without one
    forever = script("import time; time.sleep(600)")
    before = set(psutil.Process().children(recursive=True))

    def interrupted():
        threading.Timer(moment, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        take_turns([forever] * 2, 0.02)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert set(psutil.Process().children(recursive=True)) <= before
