"""Drives plugins/interpreter/session.py with a channel of its own; TAP. A test says
`from cells import ...` and ends with done()."""
import builtins
import json
import os
import signal
import sys
import tempfile
import types

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "plugins",
                      "interpreter")
TAP = os.fdopen(os.dup(1), "w", 1)
MARKS = sys.version_info >= (3, 11)  # tracebacks have them beneath lines; there are groups
KINDS = {2: "display", 3: "result", 4: "error", 5: "update", 6: "clear"}


class Channel:
    """Keeps what the runner emits."""

    def __init__(self, options=None):
        self.events, self.logged, self.options = [], [], options or {}
        self.armed = self.came = False

    def stream(self, number, data):
        if isinstance(data, str):
            raw = data.encode("utf-8", "backslashreplace")
        else:
            raw = bytes(data)
        self.events.append(("stdout" if number == 1 else "stderr", raw))
        return len(data)

    def emit(self, kind, text):
        self.events.append((KINDS[kind], json.loads(text)))
        return True

    def log(self, level, text):
        self.logged.append(text)

    def option(self, name):
        return self.options.get(name)

    def arm(self, on):
        if on:
            self.came = False

            def handler(number, frame):
                self.came = True
                raise KeyboardInterrupt

            signal.signal(signal.SIGINT, handler)
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return self.came

    def code(self, name):
        with open(os.path.join(FOLDER, name + ".py"), encoding="utf-8") as file:
            return compile(file.read(), "<kiln>/%s.py" % name, "exec")


def crashed(kind, error, trace):
    import traceback

    text = "".join(traceback.format_exception(kind, error, trace))
    TAP.write("Bail out! %s\n" % text.replace("\n", "\n# "))


sys.excepthook = crashed
channel = Channel()
work = tempfile.TemporaryDirectory()
os.chdir(work.name)
sys.dont_write_bytecode = True
main = types.ModuleType("__main__")
sys.modules["__main__"] = main
runner = types.ModuleType("kiln.session")
runner.__builtins__ = dict(builtins.__dict__)
runner.channel = channel
# As the worker's libpython is: the standard library's modules are not there yet that
# the runner loads by itself when it needs them.
exec(channel.code("session"), runner.__dict__)
runner.preload()
runner.start()

number = 0
failed = 0


def ok(condition, name, *details):
    global number, failed
    number += 1
    TAP.write("%s %d - %s\n" % ("ok" if condition else "not ok", number, name))
    if not condition:
        failed += 1
        for detail in details:
            for line in str(detail).splitlines():
                TAP.write("#   %s\n" % line)


def skip(name, why):
    global number
    number += 1
    TAP.write("ok %d - %s # SKIP %s\n" % (number, name, why))


def same(got, want, name):
    ok(got == want, name, "got:  %r" % (got,), "want: %r" % (want,))


class Ran:
    pass


def run(source, **options):
    run.count += 1
    channel.events = []
    ran = Ran()
    ran.status, ran.code = runner.execute(source, run.count, **options)
    ran.events = channel.events
    ran.kinds = [kind for kind, _ in ran.events]
    ran.out = b"".join(data for kind, data in ran.events if kind == "stdout").decode("utf-8", "replace")
    ran.err = b"".join(data for kind, data in ran.events if kind == "stderr").decode("utf-8", "replace")
    ran.results = [event["data"] for kind, event in ran.events if kind == "result"]
    ran.text = ran.results[0]["text/plain"] if ran.results else None
    ran.errors = [event for kind, event in ran.events if kind == "error"]
    ran.error = ran.errors[0] if ran.errors else {"name": None, "value": None, "traceback": []}
    ran.trace = "\n".join(ran.error["traceback"])
    return ran


run.count = 0


def done():
    """Never comes back: threads of cells must not hold the test up."""
    TAP.write("1..%d\n" % number)
    TAP.flush()
    os.chdir("/")
    work.cleanup()
    os._exit(1 if failed else 0)


OK, ERROR, INTERRUPTED = 0, 1, 5
