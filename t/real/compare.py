#!/usr/bin/python3
"""Real input: notebooks that nobody here wrote, through `kiln run` and through ipykernel
(t/real/jupyter.py), compared cell by cell.

    make real                       all; it takes hours, and goes on where it was cut
    make real REAL_FLAGS='--only skimage --fresh'
    make real REAL_FLAGS='--table'  what was found so far, without running anything

They are all notebooks of python-skimage-doc and python-statsmodels-doc, and the examples
of python-sklearn-doc that fetch nothing. Both sides are without a network. Compared are:
did the cell succeed, or by which exception did it fail; text on standard output; the
warnings; the MIME types of displays and results in their order, their text, and their
pictures byte by byte. Addresses, durations and paths of temporary folders are made equal
first. Where they differ, the peer runs a second time: what differs from itself is not held
against Kiln. A notebook
    agrees     in every cell
    neither    in every cell, too, but some fail by the same exceptions on both sides (data
               that would have to be downloaded, a package that is not there); or the peer
               does not come to its end
    unstable   but for what the peer does differently each time
    differs    REASONS says why, where it is known

BUILD/real/notebooks/NAME.json keeps each verdict and the build that it is of; --fresh
judges again those of other builds. BUILD/real/peer keeps what the peer made. All verdicts:
BUILD/real.json."""

import argparse
import base64
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
JUPYTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jupyter.py")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SOURCES = (  # package, which of its files, what in them needs a network
    ("python-skimage-doc", r"\.ipynb(\.gz)?$", None),
    ("python-statsmodels-doc", r"/doc/[^/]*/examples/.*\.ipynb(\.gz)?$", None),
    ("python-sklearn-doc", r"\.ipynb(\.gz)?$", r"\bfetch_[a-z]|urlopen|urlretrieve"),
)
# Why one differs: part of its name -> reason.
REASONS = {
    "statsmodels-generic_mle": "%R, a magic that is not there: an error here, and in ipykernel "
                               "a line on stderr alone",
    "sklearn-plot_bisect_kmeans": "prints __doc__, which IPython sets to a text of its own",
    "sklearn-plot_gmm_init": "prints __doc__, which IPython sets to a text of its own",
    "sklearn-plot_grid_search_digits": "chooses the model that was the fastest",
    "sklearn-svm_gui": "there is no screen: the window fails here, and there already the choice "
                       "of Tk, which comes after pyplot was imported",
}


def documents(package, pattern):
    listed = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True,
                            check=False)
    paths = [line for line in listed.stdout.splitlines() if re.search(pattern, line)]
    # By content of the name, not of the folder, which is a hash.
    return sorted(paths, key=lambda path: (os.path.basename(path), path))


def read(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        return file.read().decode()


def selection(only):
    """({name: path} of what is compared, the number of those left out)."""
    chosen, left_out = {}, 0
    for package, pattern, network in SOURCES:
        for path in documents(package, pattern):
            name = os.path.basename(path).removesuffix(".gz").removesuffix(".ipynb")
            name = "%s-%s" % (package.split("-")[1], name)
            if only and only not in name:
                continue
            if network and re.search(network, read(path)):
                left_out += 1
            else:
                chosen[name] = path
    return chosen, left_out


def run(argv, cwd, seconds, home):
    """(exit status, stderr); status None: its time was up."""
    env = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "XDG_RUNTIME_DIR": home,
           "IPYTHONDIR": home + "/ipython", "JUPYTER_RUNTIME_DIR": home + "/jupyter",
           "OPENBLAS_NUM_THREADS": "1",  # as in a session; OpenMP has its threads in both
           "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    process = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        err = process.communicate(timeout=seconds)[1]
        return process.returncode, err.decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        err = process.communicate()[1]
        return None, err.decode(errors="replace")


# ------------------------------------------------------------- what is compared

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


def shown(data):
    """A MIME bundle: each type with its text, of a picture with its hash."""
    said = {}
    for mime, value in sorted(data.items()):
        value = joined(value)
        if not isinstance(value, str):
            value = json.dumps(value, sort_keys=True)
        elif mime.startswith("image/") and mime != "image/svg+xml":
            value = hashlib.sha256(base64.b64decode(value)).hexdigest()[:12]
        said[mime] = equalised(value)
    return said


def summary(cell):
    """What of a cell's outputs is compared."""
    said = {"error": None, "stdout": "", "warnings": [], "displays": []}
    for output in cell.get("outputs", []):
        kind = output["output_type"]
        if kind == "error":
            said["error"] = output["ename"]
        elif kind == "stream" and output["name"] == "stdout":
            said["stdout"] += joined(output["text"])
        elif kind == "stream":
            said["warnings"] += re.findall(r"\b\w+Warning: .*", joined(output["text"]))
        else:
            said["displays"].append([kind, shown(output["data"])])
    said["stdout"] = equalised(said["stdout"])
    said["warnings"] = [equalised(one) for one in said["warnings"]]
    return said


def summaries(path):
    notebook = json.loads(pathlib.Path(path).read_text())
    return [summary(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def display_difference(mine, other):
    """(what, ours, theirs) of the first display that differs."""
    if [kind for kind, _ in mine] != [kind for kind, _ in other]:
        return "displays", [kind for kind, _ in mine], [kind for kind, _ in other]
    for (_, ours), (_, theirs) in zip(mine, other):
        if sorted(ours) != sorted(theirs):
            return "MIME types", sorted(ours), sorted(theirs)
        for mime in ours:
            if ours[mime] != theirs[mime]:
                return mime, ours[mime], theirs[mime]
    raise AssertionError("equal displays differ")


def differences(ours, theirs):
    """One entry for what differs in a cell: {cell, what, ours, theirs}."""
    if len(ours) != len(theirs):
        return [{"cell": None, "what": "cells", "ours": len(ours), "theirs": len(theirs)}]
    found = []
    for number, (mine, other) in enumerate(zip(ours, theirs), 1):
        for what in mine:
            if mine[what] == other[what]:
                continue
            one = (what, mine[what], other[what])
            if what == "displays":
                one = display_difference(mine[what], other[what])
            found.append({"cell": number, "what": one[0], "part": what, "ours": one[1],
                          "theirs": one[2]})
    return found


# --------------------------------------------------------------------- one notebook


def run_kiln(kiln, source, folder, seconds):
    out = folder / "kiln"
    out.mkdir()
    return run([kiln, "run", "-b", "interpreter", "--timeout", f"{seconds}s",
                "--set", f"limits.timeout={seconds}s", "--set", f"limits.cpu={seconds * 2}s",
                "--set", "limits.memory=3G", "--set", "limits.output=64M",
                "--set", "limits.disk=1G", "--keep-going", "-o", str(out), str(source)],
               folder, seconds * 2, str(folder)), out


def run_peer(source, folder, seconds, kept):
    """What went wrong, or None when `kept` holds the executed notebook. The peer does
    not change with Kiln, so what it made once is kept."""
    if kept.exists():
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    made = folder / "executed.ipynb"
    code, err = run([PYTHON, JUPYTER, str(source), str(made), str(seconds)], folder, seconds * 2,
                    str(folder))
    if not made.exists():
        last = (err.strip().splitlines() or [f"exit {code}"])[-1]
        return "its time was up" if code is None else last
    shutil.move(made, kept)
    return None


def compare_notebook(kiln, path, folder, seconds, peers):
    source = folder / "input.ipynb"
    source.write_text(read(path))
    peer = peers.with_suffix(".ipynb")
    failure = run_peer(source, folder, seconds, peer)
    if failure is not None:
        return {"verdict": "neither", "why": "ipykernel: " + failure}
    if kiln is None:
        return {"verdict": "peer ran"}
    (code, err), out = run_kiln(kiln, source, folder, seconds)
    written = sorted(out.glob("*.ipynb"))
    if not written:
        return {"verdict": "differs", "differences": [
            {"cell": None, "what": "run", "ours": f"exit {code}: {err.strip()[-500:]}",
             "theirs": "a notebook"}]}
    ours, theirs = summaries(written[0]), summaries(peer)
    failing = sorted({cell["error"] for cell in theirs if cell["error"]})
    verdict = {"cells": len(theirs), "displays": sum(len(c["displays"]) for c in theirs)}
    found = differences(ours, theirs)
    if found:
        again = peers.with_suffix(".again.ipynb")
        run_peer(source, folder, seconds, again)
        unstable = {(d["cell"], d["part"])
                    for d in differences(summaries(again), theirs)} if again.exists() else set()
        for one in found:
            one["peer_differs_from_itself"] = (one["cell"], one.get("part")) in unstable
            one["ours"], one["theirs"] = str(one["ours"])[:2000], str(one["theirs"])[:2000]
    steady = [one for one in found if not one["peer_differs_from_itself"]]
    verdict["verdict"] = ("differs" if steady else "unstable" if found else
                          "neither" if failing else "agrees")
    if failing:
        verdict["failing"] = failing
    verdict["differences"] = found
    return verdict


def compare(kiln, build, fresh, one, seconds, kept, peers):
    name, path = one
    record = kept / f"{name}.json"
    if record.exists():
        verdict = json.loads(record.read_text())
        if verdict["build"] == build or not fresh:
            return verdict
    with tempfile.TemporaryDirectory(prefix="kiln-real-", ignore_cleanup_errors=True) as temporary:
        try:
            verdict = compare_notebook(kiln, path, pathlib.Path(temporary), seconds, peers / name)
        except Exception as error:  # one bad notebook must not end the others' run
            verdict = {"verdict": "harness failed", "why": f"{type(error).__name__}: {error}"}
    verdict.update(name=name, file=path, build=build)
    if kiln is not None:
        record.write_text(json.dumps(verdict, indent=1))
    return verdict


# -------------------------------------------------------------------------- the table


def reason(verdict):
    for part, why in REASONS.items():
        if part in verdict["name"] and verdict["verdict"] == "differs":
            return why
    if "why" in verdict:
        return str(verdict["why"])
    if verdict["verdict"] == "neither":
        return "both: " + ", ".join(verdict["failing"])
    parts = []
    for one in verdict.get("differences", []):
        if one.get("peer_differs_from_itself") and verdict["verdict"] == "differs":
            continue
        place = f"cell {one['cell']} " if one["cell"] else ""
        text = f"{str(one['ours'])[:60]!r} / {str(one['theirs'])[:60]!r}"
        parts.append(f"{place}{one['what']}: {text}")
    return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} more" if len(parts) > 3 else "")


def table(verdicts, total, left_out):
    words = ["agrees", "unstable", "differs", "neither"]
    words += sorted({v["verdict"] for v in verdicts} - set(words))
    print("\n%-14s" % "" + "".join("%10s" % word for word in words + ["cells"]))
    packages = sorted({v["name"].partition("-")[0] for v in verdicts})
    for package in packages + ["all"]:
        its = [v for v in verdicts if package in ("all", v["name"].partition("-")[0])]
        counts = collections.Counter(v["verdict"] for v in its)
        print("%-14s" % package + "".join("%10d" % counts[word] for word in words)
              + "%10d" % sum(v.get("cells", 0) for v in its))
    print(f"{len(verdicts)} of {total} notebooks; {left_out} more would fetch data")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--seconds", type=int, default=120, help="for one cell")
    parser.add_argument("--jobs", type=int, default=2, choices=(1, 2))
    parser.add_argument("--only", help="those whose name holds this")
    parser.add_argument("--fresh", action="store_true", help="judge anew what another build did")
    parser.add_argument("--peers", action="store_true", help="run the peers alone, ahead")
    parser.add_argument("--list", action="store_true", help="what would be compared")
    parser.add_argument("--table", action="store_true", help="run nothing, print the verdicts")
    arguments = parser.parse_args()

    chosen, left_out = selection(arguments.only)
    if arguments.list:
        print("\n".join(chosen))
        return 0
    if not chosen:
        sys.exit("t/real/compare.py: nothing to compare: install the packages of `make real`")
    build = pathlib.Path(arguments.build).resolve()
    kiln = build / "kiln"
    digest = hashlib.sha256()
    for part in [kiln, *sorted((build / "plugins").glob("interpreter.*"))]:
        digest.update(part.read_bytes())
    version = digest.hexdigest()[:12]
    kept = build / "real" / "notebooks"
    kept.mkdir(parents=True, exist_ok=True)
    total = len(chosen)
    if arguments.table:
        chosen = {name: path for name, path in chosen.items() if (kept / f"{name}.json").exists()}

    verdicts = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        waiting = [pool.submit(compare, None if arguments.peers else str(kiln), version, arguments.fresh,
                               one, arguments.seconds, kept, build / "real" / "peer")
                   for one in chosen.items()]
        for done in concurrent.futures.as_completed(waiting):
            verdict = done.result()
            verdicts.append(verdict)
            print(f"{verdict['verdict']:<10} {verdict['name']:<50} {reason(verdict)}", flush=True)

    verdicts.sort(key=lambda verdict: verdict["name"])
    table(verdicts, total, left_out)
    (build / "real.json").write_text(json.dumps(verdicts, indent=1))
    return 1 if any(v["verdict"] == "harness failed" for v in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
