#!/usr/bin/python3
"""CPython's own tests within Kiln's sessions: each test of some of its modules runs
outside, and through `kiln run -b interpreter` as a cell; tests whose outcome differs from
the one outside are listed with the last line of why. A part of `make real`.

    t/real/cpython.py [--kiln build/kiln] [--backend NAME] [--fresh] [MODULE...]
    t/real/cpython.py --table       what was found so far, without running anything

REASONS says what is meant to differ. build/real/cpython keeps the outcomes, so that a run
that was cut goes on where it was. Needs libpython3.11-testsuite."""
import argparse
import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

PYTHON = "/usr/bin/python3"
MODULES = """test_json test_re test_decimal test_io test_threading test_subprocess
test_dict test_list test_generators test_coroutines test_contextlib test_dataclasses
test_typing test_logging test_pickle test_random test_struct test_zlib
test_bisect test_heapq test_textwrap test_string test_calendar test_base64 test_binascii
test_difflib test_graphlib test_operator test_pprint test_reprlib test_shlex test_fnmatch
test_html test_copy test_defaultdict test_enumerate test_fractions test_genericpath
test_ipaddress test_itertools test_augassign test_complex test_tuple test_slice test_set
test_descr test_enum test_functools test_collections test_datetime test_tempfile
test_exceptions test_exception_group test_traceback test_inspect test_warnings test_signal
test_csv test_hashlib test_math test_statistics test_weakref
test_asyncio.test_futures test_asyncio.test_locks test_asyncio.test_queues
test_asyncio.test_tasks test_asyncio.test_timeouts test_asyncio.test_base_events
test_asyncio.test_subprocess test_asyncio.test_runners test_asyncio.test_streams
test_asyncio.test_taskgroups test_asyncio.test_threads""".split()

# Debian ships no test_sqlite3.
# What is meant to differ: part of a test's id -> why.
REASONS = {
    "test_default_encoding": "the interpreter is in UTF-8 mode, where these are skipped",
    "test_no_leaking": "outside, the limit of open files is too high for it, and it is skipped",
    "test_unpickle_module_race": "the system is read-only: __pycache__ cannot be written there",
}

# Runs in all three places; what it found is one of its output files.
RUNNER = '''
import json, os, sys, unittest
os.environ.pop("MPLBACKEND", None)
outcomes = {}
class Result(unittest.TestResult):
    def note(self, test, outcome, error=None):
        why = ""
        if error is not None:
            lines = str(error[1]).strip().splitlines() if isinstance(error, tuple) else [str(error)]
            why = (error[0].__name__ + ": " if isinstance(error, tuple) else "") + (lines or [""])[0]
        # A failed subtest makes its test fail.
        if outcomes.get(test.id(), ["ok"])[0] in ("ok", "skipped"):
            outcomes[test.id()] = [outcome, why[:200]]
    def addSuccess(self, test): self.note(test, "ok")
    def addError(self, test, error): self.note(test, "error", error)
    def addFailure(self, test, error): self.note(test, "failure", error)
    def addSkip(self, test, reason): self.note(test, "skipped", reason)
    def addExpectedFailure(self, test, error): self.note(test, "ok")
    def addUnexpectedSuccess(self, test): self.note(test, "failure")
    def addSubTest(self, test, subtest, error):
        if error is not None: self.note(test, "failure", error)
from test import support
support.use_resources = []
def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite): yield from flat(test)
        else: yield test
import importlib
module = importlib.import_module("test." + MODULE)
suite = unittest.TestSuite()
if hasattr(module, "test_main") and not hasattr(module, "load_tests"):
    def collect(*classes):
        for one in classes:
            if isinstance(one, (unittest.TestSuite, unittest.TestCase)): suite.addTest(one)
            else: suite.addTest(unittest.defaultTestLoader.loadTestsFromTestCase(one))
    support.run_unittest = collect
    module.run_unittest = collect
    support.run_doctest = module.run_doctest = lambda *a, **k: (0, 0)
    module.test_main()
else:
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
where = os.getcwd()
try:
    suite.run(Result())
finally:
    with open(os.path.join(where, "outcomes.json"), "w") as file:
        json.dump(outcomes, file)
'''


def environment(folder):
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": folder,
            "TMPDIR": folder, "XDG_RUNTIME_DIR": folder}


def outcomes(folder):
    try:
        with open(os.path.join(folder, "outcomes.json"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def outside(module, folder):
    script = os.path.join(folder, "script.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write("MODULE = %r\n%s" % (module, RUNNER))
    command = [PYTHON, script]
    if os.getuid() == 0:  # root may do what tests expect to be refused
        os.chmod(folder, 0o755)
        os.chown(folder, 65534, 65534)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] + command
    try:
        subprocess.run(command, cwd=folder, env=environment(folder), timeout=300,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return None, "timeout"
    return outcomes(folder), "ended"


def inside(kiln, backend, module, folder):
    script = os.path.join(folder, "script.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write("MODULE = %r\n%s" % (module, RUNNER))
    made = os.path.join(folder, "out")
    ran = subprocess.run(
        [kiln, "run", "--json", "-b", backend, "-o", made, "--set", "limits.timeout=300s",
         "--set", "limits.memory=4G", "--set", "limits.disk=2G", "--set", "limits.processes=1000",
         "--set", "limits.open_files=1024", "--timeout", "300s", script],
        cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        result = json.loads(ran.stdout)
    except ValueError:
        return None, ran.stderr.decode("utf-8", "replace").strip()
    errors = "; ".join("%s: %s" % (e["name"], e["message"]) for e in result["errors"])
    return outcomes(made), result["status"] + (" " + errors if errors else "")


def reason(test):
    return next((why for part, why in REASONS.items() if part in test), None)


def report(module, backend, want, got, how):
    """Prints what differs; how many tests there are, and how many differ without a reason."""
    if want is None or got is None:
        print("%s %s: no outcomes (%s)" % (module, backend, how))
        return 0, 0, 1
    differing = collections.defaultdict(list)
    for test, (outcome, _) in sorted(want.items()):
        other, why = got.get(test, ["absent", ""])
        if other != outcome:
            known = reason(test)
            differing[known or "%s, not %s: %s" % (other, outcome, why), not known].append(test)
    count = collections.Counter(outcome for outcome, _ in got.values())
    unexplained = sum(len(tests) for (_, unknown), tests in differing.items() if unknown)
    explained = sum(map(len, differing.values())) - unexplained
    print("%s %s: %d tests, %s; as outside but for %d" % (
        module, backend, len(got), ", ".join("%d %s" % (n, o) for o, n in sorted(count.items())),
        explained + unexplained))
    for (why, unknown), tests in sorted(differing.items(), key=lambda item: -len(item[1])):
        print("  %d x %s%s" % (len(tests), "" if unknown else "meant: ", why))
        for test in tests[:4]:
            print("      " + test)
    return len(got), explained, unexplained


def compare(module, backends, kiln, kept, arguments):
    """Runs what no record is kept of; {"outside": ..., backend: ...}."""
    path = os.path.join(kept, module + ".json")
    found = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    if arguments.fresh:
        found = {name: found[name] for name in ("outside",) if name in found}
    if arguments.table:
        return found
    folder = tempfile.mkdtemp(prefix="kiln-cpython-")
    os.chmod(folder, 0o755)
    try:
        for place in ["outside"] + backends:
            if found.get(place, [None])[0] is not None:
                continue
            own = os.path.join(folder, place)
            os.mkdir(own)
            found[place] = (outside(module, own) if place == "outside" else
                            inside(kiln, place, module, own))
            with open(path, "w", encoding="utf-8") as file:
                json.dump(found, file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kiln", default="build/kiln")
    parser.add_argument("--backend", action="append", help="default: interpreter")
    parser.add_argument("--fresh", action="store_true", help="forget the outcomes inside")
    parser.add_argument("--table", action="store_true", help="run nothing, print the outcomes")
    parser.add_argument("modules", nargs="*")
    arguments = parser.parse_args()
    kiln = os.path.abspath(arguments.kiln)
    kept = os.path.join(os.path.dirname(kiln), "real", "cpython")
    os.makedirs(kept, exist_ok=True)
    # A shell ignores it for what runs in the background, and so would all children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    backends = arguments.backend or ["interpreter"]
    modules = arguments.modules or MODULES
    totals = [0, 0, 0]
    for module in modules:
        found = compare(module, backends, kiln, kept, arguments)
        for backend in backends:
            if arguments.table and backend not in found:
                continue
            want, how = found["outside"]
            got = None
            if want is not None:
                got, how = found[backend]
            counts = report(module, backend, want, got, how)
            totals = [total + one for total, one in zip(totals, counts)]
            sys.stdout.flush()
    print("%d modules, %d tests: %d differ as they are meant to, %d without a reason"
          % (len(modules), *totals))
    return 1 if totals[2] else 0


if __name__ == "__main__":
    sys.exit(main())
