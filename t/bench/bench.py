#!/usr/bin/python3
"""What Kiln costs, beside the bare mechanism (floor) and what one would use instead
(peer): `make bench`, with BENCH_FLAGS=--quick in a quarter of the time, or with
BENCH_FLAGS='--only cells,pool' for those parts alone.

All figures of a row are taken in one run, alternating; medians. A row is met when its
ratios are within the limits; milliseconds alone say nothing on a shared machine.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import container_bench

PYTHON = "/usr/bin/python3"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}
NUMPY_PLUS = "import numpy, pandas, matplotlib.pyplot"


def timed(argv, folder):
    """Milliseconds of a whole process that must succeed."""
    env = {**ENVIRONMENT, "HOME": folder, "XDG_RUNTIME_DIR": folder}
    since = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    took = (time.perf_counter() - since) * 1e3
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: "
                           f"{done.stderr.decode(errors='replace').strip()[-400:]}")
    return took


def alternating(runs, folder, **commands):
    """Median milliseconds of each command, taken in turns."""
    series = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, argv in commands.items():
            took = timed(argv, folder)
            if turn > 0:  # the first turn fills the page cache
                series[name].append(took)
    return {name: statistics.median(values) for name, values in series.items()}


def program(build, name, *arguments):
    """Series of a benchmark program, in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as home:
        done = subprocess.run([f"{build}/t/bench/{name}", *map(str, arguments)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**ENVIRONMENT, "HOME": home, "XDG_RUNTIME_DIR": home})
    if done.returncode != 0:
        raise RuntimeError(f"t/bench/{name}: exit {done.returncode}: "
                           f"{done.stderr.decode(errors='replace').strip()[-400:]}")
    return {key: [value / 1e3 for value in values]
            for key, values in json.loads(done.stdout).items()}


def median(values):
    return statistics.median(values)


def p99(values):
    return sorted(values)[int(len(values) * 0.99)]


def notebook(*cells):
    return json.dumps({
        "cells": [{"cell_type": "code", "execution_count": None, "id": f"c{i}", "metadata": {},
                   "outputs": [], "source": source} for i, source in enumerate(cells)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3",
                                    "language": "python"}}, "nbformat": 4, "nbformat_minor": 5})


class Kernel:
    """ipykernel, spoken to as its users do."""

    def __init__(self):
        from jupyter_client.manager import KernelManager

        since = time.perf_counter()
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=dict(os.environ, **ENVIRONMENT),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.run(NUMPY_PLUS)
        self.run("1+1")
        self.cold_ms = (time.perf_counter() - since) * 1e3

    def run(self, code):
        since = time.perf_counter()
        self.client.execute(code)
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if (message["msg_type"] == "status"
                    and message["content"]["execution_state"] == "idle"
                    and message["parent_header"].get("msg_type") == "execute_request"):
                break
        self.client.get_shell_msg(timeout=60)
        return (time.perf_counter() - since) * 1e3

    def private_mb(self):
        """As t/bench/memory reads it of a session."""
        rollup = pathlib.Path(f"/proc/{self.manager.provisioner.process.pid}/smaps_rollup")
        return sum(int(line.split()[1]) for line in rollup.read_text().splitlines()
                   if line.startswith("Private_")) / 1024

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        del self.client, self.manager  # before the interpreter takes logging away


class Table:
    def __init__(self):
        self.rows = []

    def row(self, what, kiln, floor=None, peer=None, at_most=None, faster=None, ceiling=None,
            p99_ms=None, p99_ceiling=None, more=None, unit="ms"):
        """at_most: times the floor; faster: times faster than the peer; ceiling: in `unit`, as
        p99_ceiling, of the 99th percentile, and `more`, than the floor."""
        checks = []
        if at_most is not None:
            checks.append((f"<= {at_most:g} x floor", kiln <= at_most * floor))
        if faster is not None:
            checks.append((f">= {faster:g} x faster than peer", kiln * faster <= peer))
        if ceiling is not None:
            checks.append((f"<= {ceiling:g} {unit}", kiln <= ceiling))
        if p99_ceiling is not None:
            checks.append((f"p99 {p99_ms:.3f} <= {p99_ceiling:g} {unit}", p99_ms <= p99_ceiling))
        if more is not None:
            checks.append((f"<= floor + {more:g} {unit}", kiln <= floor + more))
        row = {"what": what, "unit": unit, "kiln_ms": kiln, "floor_ms": floor, "peer_ms": peer,
               "p99_ms": p99_ms, "times_floor": kiln / floor if floor else None,
               "times_faster": peer / kiln if peer and kiln > 0 else None,
               "targets": [{"target": text, "met": met} for text, met in checks]}
        self.rows.append(row)
        figure = lambda value: f"{value:10.3f}" if value is not None else f"{'':10}"
        ratio = lambda value: f"{value:8.2f}" if value is not None else f"{'':8}"
        print(f"{what:<58}{figure(kiln)}{figure(floor)}{figure(peer)}"
              f"{ratio(row['times_floor'])}{ratio(row['times_faster'])}  "
              + "; ".join(f"{text}: {'met' if met else 'MISSED'}" for text, met in checks),
              flush=True)

    def failed(self, what, why):
        self.rows.append({"what": what, "error": str(why)})
        print(f"{what:<58}  failed: {why}", flush=True)


def whole_processes(table, kiln, arguments):
    with tempfile.TemporaryDirectory(prefix="kiln-bench-") as folder:
        pathlib.Path(folder, "one.ipynb").write_text(notebook("print(1)"))
        pathlib.Path(folder, "three.ipynb").write_text(notebook("x = 1", "print(x)", "x + 1"))
        nbconvert = [PYTHON, "-m", "nbconvert", "--to", "notebook", "--execute", "--output"]
        ours = alternating(
            arguments.runs, folder,
            floor=[PYTHON, "-c", "print(1)"],
            line=[kiln, "run", "-c", "print(1)"],
            cells=[kiln, "run", "-o", "out", "three.ipynb"])
        peers = alternating(
            arguments.peer_runs, folder,
            execute=[PYTHON, "-m", "jupyter", "execute", "one.ipynb"],
            nbconvert=[*nbconvert, "done.ipynb", "three.ipynb"])
    table.row("kiln run -c 'print(1)' / python3 -c / jupyter execute", ours["line"],
              ours["floor"], peers["execute"], at_most=1.6)
    table.row("notebook of 3 cells / python3 -c / nbconvert", ours["cells"], ours["floor"],
              peers["nbconvert"], at_most=3, faster=30)


def programs_started(table, kiln, arguments):
    series = {name: median(values)
              for name, values in program(arguments.build, "spawn", kiln, arguments.runs * 3).items()}
    true = "/bin/true confined, in a live session / fork+exec / bwrap"
    table.row(true, series["kiln_true"], series["bare_true"], series["bwrap_true"],
              at_most=2.2, faster=2)
    table.row("/bin/true, from the nursery", series["kiln_true_nursery"], series["bare_true"],
              series["bwrap_true"], at_most=1.3)
    table.row("/bin/true, session opened, used, closed", series["kiln_true_whole_session"],
              series["bare_true"], series["bwrap_true"], at_most=2.2, faster=2)
    table.row("python3 -c pass, confined / bare / bwrap", series["kiln_python"],
              series["bare_python"], series["bwrap_python"], at_most=1.15)


def peer_cells():
    """ipykernel: a cell's round trip, and a kernel from nothing with numpy+."""
    kernel = Kernel()
    try:
        for _ in range(20):
            kernel.run("1+1")
        peer = median([kernel.run(f"1+{i}") for i in range(200)])
    finally:
        kernel.close()
    return peer, kernel.cold_ms


def apart():
    """Two processors, for a row of each side on one of its own: words, or none."""
    return sorted(os.sched_getaffinity(0))[:2] if len(os.sched_getaffinity(0)) > 1 else []


def cells(table, kiln, interpreter, peer, arguments):
    series = program(arguments.build, "cell", kiln, interpreter, arguments.runs * 100)
    echo = median(series["echo"])
    table.row("cell 1+1, engine to worker and back / echo / ipykernel", median(series["cell"]),
              echo, peer, at_most=1.7, faster=100, p99_ms=p99(series["cell"]))
    table.row("the same code again", median(series["cell_seen"]), echo, peer, at_most=1.15,
              p99_ms=p99(series["cell_seen"]))
    table.row("interrupt of `while True: pass`, to the reply", median(series["interrupt"]), echo,
              at_most=10, p99_ms=p99(series["interrupt"]), p99_ceiling=0.5)
    if apart():  # the kernel mostly puts the two sides on one
        series = program(arguments.build, "cell", kiln, interpreter, arguments.runs * 50, *apart())
        far = median(series["echo"])
        table.row("cell, each side on a processor of its own / such an echo",
                  median(series["cell"]), far)
        table.row("the same code again, likewise", median(series["cell_seen"]), far)
    return echo


def results(table, kiln, interpreter, echo, peer, arguments):
    if echo is None:  # the cells were not asked for, or failed
        echo = median(program(arguments.build, "cell", kiln, interpreter, 200)["echo"])
    series = program(arguments.build, "execute", kiln, arguments.runs * 50)
    whole = median(series["default_chain"])
    table.row("cell 1+1, request to Result, default policies", whole, echo, peer, at_most=3,
              faster=100, p99_ms=p99(series["default_chain"]))


def policies(table, arguments):
    series = {name: median(values)
              for name, values in program(arguments.build, "policy", arguments.runs * 100).items()}
    table.row("policies: default chain of five less an empty one",
              series["default_chain"] - series["empty_chain"], ceiling=0.02)
    table.row("policies: reload of ten scripts", series["reload_ten"], ceiling=20)


def natives(table, kiln, echo, arguments):
    series = program(arguments.build, "native", kiln, arguments.runs * 3)
    ctypes = median(series["ctypes"])
    table.row("native call by a policy / echo", median(series["policy"]), echo)
    table.row("native call by a cell / echo", median(series["cell"]), echo)
    table.row("the same function by ctypes, in the cell's own process", ctypes)


def sessions(table, kiln, interpreter, cold_ms, arguments):
    for what, options, limits in (
        ("session, nothing preloaded: open to first reply / fork", [], {}),
        ("session, numpy+ preloaded / fork / ipykernel",
         ["preload=numpy pandas matplotlib.pyplot"], {"at_most": 12, "faster": 200}),
    ):
        series = program(arguments.build, "session", kiln, interpreter, arguments.runs * 3,
                         *options)
        table.row(what, median(series["session"]), median(series["fork"]), cold_ms,
                  p99_ms=p99(series["session"]), **limits)
        if options:
            table.row("the same / an unconfined fork of a worker, to its answer",
                      median(series["session"]), median(series["unconfined"]), at_most=1.3)


def branches(table, kiln, arguments):
    for megabytes in (50, 200, 1000):
        series = program(arguments.build, "branch", kiln, max(arguments.runs // 2, 3), megabytes)
        of = {name: median(values) for name, values in series.items()}
        table.row(f"branch of {megabytes} MB, first cell answered / its own fork",
                  of["branch"], of["fork"], at_most=2, ceiling=5)
        table.row(f"transactional cell, {megabytes} MB, with think time / the plain cell",
                  of["thinking"], of["plain"], more=0.3)
        table.row("the same, back to back / the plain cell", of["back_to_back"], of["plain"],
                  ceiling=6)
        table.row(f"failed cell undone, {megabytes} MB / failed cell",
                  of["rolled_back"], of["failed"])
        table.row("what of it is the undoing / a fork of its size to the first byte",
                  max(of["rolled_back"] - of["failed"], 0), of["fork"], at_most=4)


def pool(table, kiln, cold_ms, arguments):
    series = program(arguments.build, "pool", kiln, arguments.runs)
    warm = median(series["warm_cell"])
    table.row("session from the pool: first cell / in a warm session", median(series["first_cell"]),
              warm, cold_ms, at_most=1.5, faster=5000, p99_ms=p99(series["first_cell"]),
              p99_ceiling=0.5)
    table.row("the same / in a warm session after the same pause", median(series["first_cell"]),
              median(series["rested_cell"]))
    table.row("the same without the pool", median(series["cold_first_cell"]), warm, cold_ms)
    table.row("first DataFrame of a session from the pool / its second",
              median(series["frame_first"]), median(series["frame_second"]), at_most=2)
    table.row("the same without the pool", median(series["frame_cold"]),
              median(series["frame_second"]))


def forks():
    """Milliseconds of a fork and exit of numpy+, taken where it is used."""
    here = pathlib.Path(__file__).with_name("forks.py")
    done = subprocess.run([PYTHON, str(here)], env=ENVIRONMENT, stdout=subprocess.PIPE, check=True)
    return [value / 1e3 for value in json.loads(done.stdout)["fork_exit"]]


def rates(table, kiln, peer, arguments):
    """Milliseconds each, of what comes and goes as fast as it can."""
    fork_exit = forks()
    series = {name: values[0] for name, values in program(
        arguments.build, "rate", kiln, 1 if arguments.quick else 4).items()}
    fork_exit = median(fork_exit + forks())
    for name, what, peer_ms, limits in (
        ("cells_1", "cells, one after the other, 1 session", peer, {"faster": 100}),
        ("cells_8", "cells, 8 sessions", peer, {"faster": 100}),
        ("sessions", "sessions of numpy+ opened, used, closed / fork+exit of numpy+", None,
         {"at_most": 12}),
        ("programs", "programs in sessions of their own / fork+exec", None, {}),
    ):
        floor = {"sessions": fork_exit, "programs": series["fork_exec"]}.get(name)
        table.row(f"{what}: {1e3 / series[name]:,.0f} a second", series[name], floor, peer_ms,
                  **limits)


# Those of t/bench/memory.c.
USUAL_CELLS = ("x = 1", "print(x)", "import numpy as np; a = np.arange(100.0)", "a.sum()",
               "import pandas as pd\nd = pd.DataFrame({'k': list('abc'), 'v': range(3)})\nd")


def peer_memory():
    """MB private to an ipykernel, before and after gc.collect()."""
    kernel = Kernel()
    try:
        for cell in USUAL_CELLS:
            kernel.run(cell)
        idle = kernel.private_mb()
        kernel.run("import gc; gc.collect()")
        return idle, kernel.private_mb()
    finally:
        kernel.close()


def memory(table, kiln, arguments):
    """In MB where it says so."""
    peer, peer_collected = peer_memory()
    count = 40 if arguments.quick else 200
    series = {name: median(values) if values else 0
              for name, values in program(arguments.build, "memory", kiln, count).items()}
    mb = {name: value * 1e3 / 1024 for name, value in series.items()}  # KiB came as microseconds
    table.row(f"MB private to one of {count} idle sessions / ipykernel",
              mb["session"], None, peer, ceiling=8, unit="MB")
    table.row("MB, after gc.collect() / ipykernel", mb["session_collected"], None, peer_collected,
              ceiling=8, unit="MB")
    table.row("MB resident, the engine without sessions", mb["engine"], ceiling=12, unit="MB")
    table.row(f"MB resident, the engine more for each of {count} sessions",
              (mb["engine_full"] - mb["engine"]) / count, ceiling=0.5, unit="MB")
    table.row("MB resident, the engine when they are closed / when they were there",
              mb["engine_after"], mb["engine_full"], at_most=1.05, unit="MB")
    table.row(f"cell with {count} sessions / with 10", series["cell_all"], series["cell_few"],
              at_most=1.5)
    table.row(f"opening the {count}th session / the 10th", series["open_all"],
              series["open_few"], at_most=1.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--json", default="build/bench.json")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--peer-runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="fewer runs, for a first look")
    parser.add_argument("--only", default="", metavar="PART,...",
                        help="of: processes programs cells results policies natives sessions "
                        "branches pool rates memory containers")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.runs, arguments.peer_runs = min(arguments.runs, 5), 1
    only = set(arguments.only.replace(",", " ").split())
    unknown = only - {"processes", "programs", "cells", "results", "policies", "natives",
                      "sessions", "branches", "pool", "rates", "memory", "containers"}
    if unknown:
        parser.error(f"--only: there is no part {', '.join(sorted(unknown))}")
    arguments.build = os.path.abspath(arguments.build)
    kiln = f"{arguments.build}/kiln"
    interpreter = f"{arguments.build}/plugins/interpreter.so"

    table = Table()
    print(f"{'milliseconds, medians':<58}{'kiln':>10}{'floor':>10}{'peer':>10}"
          f"{'x floor':>8}{'faster':>8}")

    def step(what, function, *its):
        """A step that fails is a row that says so; the others go on."""
        if only and what not in only:
            return None
        try:
            return function(*its)
        except (RuntimeError, OSError) as why:
            table.failed(what, why)
            return None

    step("processes", whole_processes, table, kiln, arguments)
    step("programs", programs_started, table, kiln, arguments)
    wants_peer = not only or only & {"cells", "results", "sessions", "pool", "rates"}
    peer, cold_ms = peer_cells() if wants_peer else (None, None)
    echo = step("cells", cells, table, kiln, interpreter, peer, arguments)
    step("results", results, table, kiln, interpreter, echo, peer, arguments)
    step("policies", policies, table, arguments)
    step("natives", natives, table, kiln, echo, arguments)
    step("sessions", sessions, table, kiln, interpreter, cold_ms, arguments)
    step("branches", branches, table, kiln, arguments)
    step("pool", pool, table, kiln, cold_ms, arguments)
    step("rates", rates, table, kiln, peer, arguments)
    step("memory", memory, table, kiln, arguments)
    step("containers", container_bench.run, table, kiln, program, arguments)

    record = {"machine": {"cpus": os.cpu_count(), "kernel": platform.release(),
                          "load": os.getloadavg()[0]},
              "runs": arguments.runs, "rows": table.rows}
    pathlib.Path(arguments.json).write_text(json.dumps(record, indent=1))
    targets = [target for row in table.rows for target in row.get("targets", [])]
    print(f"\n{sum(t['met'] for t in targets)} of {len(targets)} targets met; "
          f"load {record['machine']['load']:.1f}; {arguments.json}")
    return 1 if any("error" in row for row in table.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
