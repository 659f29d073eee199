#!/usr/bin/python3
"""Real input: notebooks and scripts that nobody here wrote, through `kiln run` and
through what their authors would have used, compared cell by cell.

    make real                       all of the selection
    make real REAL_FLAGS='--only skimage --fresh'

Notebooks (python-skimage-doc, python-sklearn-doc) and scripts of python-statsmodels-doc
(as a notebook of one cell) also go through `jupyter nbconvert --execute --allow-errors`;
scripts of libpython3.11-testsuite also through /usr/bin/python3. Compared are: did the
cell succeed, or by which exception did it fail; text on standard output; text of the
result; the number of pictures. Addresses, durations and paths of temporary folders are
made equal first. Where they differ, the peer runs a second time: what differs from itself
is not held against Kiln, and is counted apart.

BUILD/real/KILN'S-HASH/NAME.json keeps each verdict, so that a run that was cut goes on
where it was; BUILD/real/peer keeps what the peer made. All verdicts: BUILD/real.json.
"""

import argparse
import collections
import concurrent.futures
import gzip
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

PYTHON = "/usr/bin/python3"
NBCONVERT = [PYTHON, "-m", "nbconvert"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Quick, without network or subprocesses; each runs itself when it is the main program.
SUITE = """test_bisect test_heapq test_textwrap test_string test_calendar test_colorsys
test_base64 test_binascii test_difflib test_graphlib test_keyword test_operator test_pprint
test_reprlib test_shlex test_struct test_fnmatch test_html test_htmlparser test_copy
test_contextlib test_dataclasses test_defaultdict test_enumerate test_fractions
test_genericpath test_getopt test_ipaddress test_itertools test_quopri test_unpack
test_augassign test_complex test_dict test_generators test_list test_tuple test_slice""".split()


def documents(package, pattern):
    listed = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True)
    paths = [line for line in listed.stdout.splitlines() if re.search(pattern, line)]
    # By content of the name, not of the folder, which is a hash.
    return sorted(paths, key=lambda path: (os.path.basename(path), path))


def spread(paths, count):
    """`count` of them, evenly over the whole list."""
    if len(paths) <= count:
        return paths
    return [paths[i * len(paths) // count] for i in range(count)]


def selection(arguments):
    """(kind, name, path) of everything that is compared."""
    chosen = []
    for package, pattern, count in (
        ("python-skimage-doc", r"\.ipynb(\.gz)?$", arguments.notebooks),
        ("python-sklearn-doc", r"\.ipynb(\.gz)?$", arguments.notebooks),
    ):
        for path in spread(documents(package, pattern), count):
            name = os.path.basename(path).removesuffix(".gz").removesuffix(".ipynb")
            chosen.append(("notebook", f"{package.split('-')[1]}-{name}", path))
    scripts = documents("python-statsmodels-doc", r"/examples/python/[^/]*\.py(\.gz)?$")
    for path in spread(scripts, arguments.scripts):
        name = os.path.basename(path).removesuffix(".gz").removesuffix(".py")
        chosen.append(("cell", f"statsmodels-{name}", path))
    known = {os.path.basename(p)[:-3]: p
             for p in documents("libpython3.11-testsuite", r"/test/test_\w+\.py$")}
    for name in SUITE[: arguments.suite]:
        if name in known:
            chosen.append(("script", f"testsuite-{name}", known[name]))
    return [one for one in chosen if not arguments.only or arguments.only in one[1]]


def read(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        return file.read().decode()


def run(argv, cwd, seconds, home):
    """(exit status, stdout, stderr); status None: its time was up."""
    env = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "XDG_RUNTIME_DIR": home,
           "IPYTHONDIR": home + "/ipython", "JUPYTER_RUNTIME_DIR": home + "/jupyter",
           "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return None, out.decode(errors="replace"), err.decode(errors="replace")


EQUAL = [(re.compile(pattern, flags), text) for pattern, flags, text in (
    (r"\b0x[0-9a-fA-F]{6,}\b", 0, "0xADDRESS"),
    (r"\b\d+(\.\d+)?(e[-+]?\d+)?\s?(s|ms|us|µs|sec|secs|seconds?|minutes?)\b", re.I, "DURATION"),
    (r"(?<=\()\d+m?s(?=\))", 0, "DURATION"),
    (r"/tmp/[\w./-]+", 0, "/tmp/PATH"),
    (r"Date:.*|Time:.*", 0, "WHEN"),
    (r"[ \t]+$", re.M, ""),
)]


def equalised(text):
    for pattern, replacement in EQUAL:
        text = pattern.sub(replacement, text)
    return text.strip()


def joined(value):
    return "".join(value) if isinstance(value, list) else value


def summary(cell):
    """What of a cell's outputs is compared."""
    said = {"error": None, "stdout": "", "result": "", "pictures": 0}
    for output in cell.get("outputs", []):
        kind = output["output_type"]
        if kind == "error":
            said["error"] = output["ename"]
        elif kind == "stream" and output["name"] == "stdout":
            said["stdout"] += joined(output["text"])
        elif kind in ("display_data", "execute_result"):
            data = output["data"]
            said["pictures"] += any(mime.startswith("image/") for mime in data)
            if kind == "execute_result" and "text/plain" in data:
                said["result"] += joined(data["text/plain"])
    said["stdout"], said["result"] = equalised(said["stdout"]), equalised(said["result"])
    return said


def summaries(path):
    notebook = json.loads(pathlib.Path(path).read_text())
    return [summary(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def differences(ours, theirs):
    """One entry a cell that differs: {cell, what, ours, theirs}."""
    found = []
    if len(ours) != len(theirs):
        return [{"cell": None, "what": "cells", "ours": len(ours), "theirs": len(theirs)}]
    for number, (mine, other) in enumerate(zip(ours, theirs), 1):
        for what in ("error", "stdout", "result", "pictures"):
            if mine[what] != other[what]:
                found.append({"cell": number, "what": what, "ours": mine[what],
                              "theirs": other[what]})
    return found


def as_notebook(code):
    return {"cells": [{"cell_type": "code", "execution_count": None, "id": "script",
                       "metadata": {}, "outputs": [], "source": code}],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3",
                                        "language": "python"}},
            "nbformat": 4, "nbformat_minor": 5}


def run_kiln(kiln, source, folder, seconds, extra):
    out = folder / "kiln"
    out.mkdir()
    return run([kiln, "run", "-b", "interpreter", "--timeout", f"{seconds}s",
                "--set", f"limits.timeout={seconds}s", "--set", "limits.memory=3G",
                "--set", "limits.output=64M", "--set", "limits.disk=1G", "-o", str(out),
                *extra, str(source)], folder, seconds * 2, str(folder)), out


def run_nbconvert(source, folder, seconds, kept):
    """What went wrong, or None when `kept` holds the executed notebook. The peer does
    not change with Kiln, so what it made once is kept."""
    if kept.exists():
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    code, _, err = run([*NBCONVERT, "--to", "notebook", "--execute", "--allow-errors",
                        f"--ExecutePreprocessor.timeout={seconds}", "--output-dir", str(folder),
                        "--output", "executed", str(source)], folder, seconds * 2, str(folder))
    made = folder / "executed.ipynb"
    if not made.exists():
        return (err.strip().splitlines() or [f"exit {code}"])[-1]
    shutil.move(made, kept)
    return None


def compare_notebook(kiln, kind, path, folder, seconds, peers):
    source = folder / "input.ipynb"
    text = read(path)
    source.write_text(text if kind == "notebook" else json.dumps(as_notebook(text)))
    peer = peers.with_suffix(".ipynb")
    failure = run_nbconvert(source, folder, seconds, peer)
    if failure is not None:
        return {"verdict": "peer failed", "why": failure}
    if kiln is None:
        return {"verdict": "peer ran"}
    (code, _, err), out = run_kiln(kiln, source, folder, seconds, ["--keep-going"])
    written = sorted(out.glob("*.ipynb"))
    if not written:
        return {"verdict": "differs", "differences": [
            {"cell": None, "what": "run", "ours": f"exit {code}: {err.strip()[-500:]}",
             "theirs": "a notebook"}]}
    ours, theirs = summaries(written[0]), summaries(peer)
    verdict = {"cells": len(theirs), "pictures": sum(c["pictures"] for c in theirs),
               "failing_cells": sum(c["error"] is not None for c in theirs)}
    found = differences(ours, theirs)
    if found:
        again = peers.with_suffix(".again.ipynb")
        run_nbconvert(source, folder, seconds, again)
        unstable = {(d["cell"], d["what"])
                    for d in differences(summaries(again), theirs)} if again.exists() else set()
        for one in found:
            one["peer_differs_from_itself"] = (one["cell"], one["what"]) in unstable
            one["ours"], one["theirs"] = str(one["ours"])[:2000], str(one["theirs"])[:2000]
    steady = [one for one in found if not one["peer_differs_from_itself"]]
    verdict["verdict"] = "differs" if steady else "unstable" if found else "agrees"
    verdict["differences"] = found
    return verdict


def suite_summary(status, err):
    """The verdict that unittest prints."""
    ran = re.findall(r"^Ran (\d+) tests?", err, re.M)
    ended = re.findall(r"^(OK|FAILED)\b(.*)$", err, re.M)
    return {"exit": status, "ran": ran, "ended": ended}


def compare_script(kiln, path, folder, seconds):
    source = folder / os.path.basename(path)
    source.write_text(read(path))
    (code, _, err), _ = run_kiln(kiln, source, folder, seconds, [])
    peer_code, _, peer_err = run([PYTHON, str(source)], folder, seconds, str(folder))
    ours, theirs = suite_summary(code, err), suite_summary(peer_code, peer_err)
    if ours == theirs:
        return {"verdict": "agrees", "cells": 1, "differences": []}
    return {"verdict": "differs", "cells": 1, "differences": [
        {"cell": None, "what": what, "ours": f"{ours[what]} {err[-1500:]}",
         "theirs": str(theirs[what])} for what in ours if ours[what] != theirs[what]]}


def compare(kiln, one, seconds, kept, peers):
    kind, name, path = one
    record = kept / f"{name}.json"
    # A kiln that was built anew is asked anew; the verdict names what it judged.
    if record.exists():
        return json.loads(record.read_text())
    with tempfile.TemporaryDirectory(prefix="kiln-real-", ignore_cleanup_errors=True) as temporary:
        folder = pathlib.Path(temporary)
        try:
            if kind == "script" and kiln is None:
                verdict = {"verdict": "peer ran"}
            elif kind == "script":
                verdict = compare_script(kiln, path, folder, seconds)
            else:
                verdict = compare_notebook(kiln, kind, path, folder, seconds,
                                           peers / name)
        except Exception as error:  # one bad notebook must not end the others' run
            verdict = {"verdict": "harness failed", "why": f"{type(error).__name__}: {error}"}
    verdict.update(name=name, kind=kind, file=path)
    record.write_text(json.dumps(verdict, indent=1))
    return verdict


def reason(verdict):
    if "why" in verdict:
        return str(verdict["why"])
    parts = []
    for one in verdict.get("differences", []):
        place = f"cell {one['cell']} " if one["cell"] else ""
        note = " (peer differs from itself)" if one.get("peer_differs_from_itself") else ""
        if one["what"] in ("error", "pictures", "cells", "exit", "run"):
            text = f"{str(one['ours'])[:60]} / {str(one['theirs'])[:60]}"
        else:
            text = "text"
        parts.append(f"{place}{one['what']}: {text}{note}".replace("\n", " "))
    return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} more" if len(parts) > 3 else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--notebooks", type=int, default=20, help="of each documentation")
    parser.add_argument("--scripts", type=int, default=15, help="of statsmodels")
    parser.add_argument("--suite", type=int, default=20, help="of Python's own test suite")
    parser.add_argument("--seconds", type=int, default=120, help="for one cell")
    parser.add_argument("--jobs", type=int, default=2, choices=(1, 2))
    parser.add_argument("--only", help="those whose name holds this")
    parser.add_argument("--fresh", action="store_true", help="forget the verdicts so far")
    parser.add_argument("--peers", action="store_true", help="run the peers alone, ahead")
    parser.add_argument("--list", action="store_true", help="what would be compared")
    arguments = parser.parse_args()

    chosen = selection(arguments)
    if arguments.list:
        for one in chosen:
            print(*one)
        return 0
    if not chosen:
        sys.exit("t/real/compare.py: nothing to compare: install the packages of `make real`")
    build = pathlib.Path(arguments.build).resolve()
    kiln, version = build / "kiln", "peers"
    if arguments.peers:
        kiln = None
    else:
        digest = hashlib.sha256()
        for part in [kiln, *sorted((build / "plugins").glob("*.so"))]:
            digest.update(part.read_bytes())
        version = digest.hexdigest()[:12]
    kept = build / "real" / version
    if arguments.fresh:
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True, exist_ok=True)

    verdicts = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        waiting = [pool.submit(compare, kiln and str(kiln), one, arguments.seconds, kept,
                               build / "real" / "peer")
                   for one in chosen]
        for done in concurrent.futures.as_completed(waiting):
            verdict = done.result()
            verdicts.append(verdict)
            print(f"{verdict['verdict']:<15} {verdict['name']:<48} {reason(verdict)}", flush=True)

    verdicts.sort(key=lambda verdict: verdict["name"])
    counts = collections.Counter(verdict["verdict"] for verdict in verdicts)
    by_kind = collections.defaultdict(collections.Counter)
    for verdict in verdicts:
        by_kind[verdict["kind"]][verdict["verdict"]] += 1
    print()
    for kind, its in sorted(by_kind.items()):
        print(f"{kind:<10}", ", ".join(f"{n} {verdict}" for verdict, n in its.most_common()))
    print(f"{'all':<10}", ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common()),
          f"of {len(verdicts)};",
          f"{sum(v.get('cells', 0) for v in verdicts)} cells")
    (build / "real.json").write_text(json.dumps({"counts": counts, "verdicts": verdicts}, indent=1))
    return 1 if counts["harness failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
