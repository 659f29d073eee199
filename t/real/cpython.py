#!/usr/bin/python3
"""CPython's own tests within Kiln's sessions: each test of some of its modules runs
outside, through `kiln run -b exec` and through `kiln run -b interpreter`; tests whose
outcome differs from the one outside are listed with the last line of why.

    t/real/cpython.py [--kiln build/kiln] [--backend NAME] [MODULE...]

By hand: it takes minutes, and what differs has to be read. What is meant to differ:
    test_base_events   nothing can be bound, not on loopback either, and there is no IPv6
    test_io            the interpreter is in UTF-8 mode, in which some tests are skipped
    test_subprocess    outside, the limit of open files is too high for test_no_leaking
Tests that serve on loopback from a thread (test_asyncio.test_streams) wait for ever where
nothing can be bound. Needs libpython3.11-testsuite."""
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
test_asyncio.test_futures test_asyncio.test_locks test_asyncio.test_queues
test_asyncio.test_tasks test_asyncio.test_timeouts test_asyncio.test_base_events
test_asyncio.test_subprocess""".split()

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
suite = unittest.defaultTestLoader.loadTestsFromName("test." + MODULE)
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


def report(module, backend, want, got, how):
    if want is None or got is None:
        print("%s %s: no outcomes (%s)" % (module, backend, how))
        return False
    differing = collections.defaultdict(list)
    for test, (outcome, _) in sorted(want.items()):
        other, why = got.get(test, ["absent", ""])
        if other != outcome:
            differing["%s, not %s: %s" % (other, outcome, why)].append(test)
    count = collections.Counter(outcome for outcome, _ in got.values())
    print("%s %s: %d tests, %s; %d differ from outside" % (
        module, backend, len(got), ", ".join("%d %s" % (n, o) for o, n in sorted(count.items())),
        sum(map(len, differing.values()))))
    for why, tests in sorted(differing.items(), key=lambda item: -len(item[1])):
        print("  %d x %s" % (len(tests), why))
        for test in tests[:4]:
            print("      " + test)
    return not differing


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kiln", default="build/kiln")
    parser.add_argument("--backend", action="append")
    parser.add_argument("modules", nargs="*")
    arguments = parser.parse_args()
    kiln = os.path.abspath(arguments.kiln)
    # A shell ignores it for what runs in the background, and so would all children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    same = True
    for module in arguments.modules or MODULES:
        folder = tempfile.mkdtemp(prefix="kiln-cpython-")
        os.chmod(folder, 0o755)
        try:
            os.mkdir(os.path.join(folder, "outside"))
            want, how = outside(module, os.path.join(folder, "outside"))
            if want is None:
                print("%s outside: no outcomes (%s)" % (module, how))
                continue
            for backend in arguments.backend or ["exec", "interpreter"]:
                own = os.path.join(folder, backend)
                os.mkdir(own)
                got, how = inside(kiln, backend, module, own)
                same = report(module, backend, want, got, how) and same
                sys.stdout.flush()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
