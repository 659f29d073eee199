"""%time, %timeit, %prun. `session` is session.py."""
import sys

arguments = session.part("arguments")
shell_part = session.part("shell")
UsageError, namespace, shell = shell_part.UsageError, shell_part.namespace, shell_part.shell


def duration(seconds):
    if seconds >= 60:
        minutes, seconds = divmod(int(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return ("%dh " % hours if hours else "") + "%dmin %ds" % (minutes, seconds)
    for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)):
        if seconds * scale >= 1:
            break
    return "%.3g %s" % (seconds * scale, unit)


def _used():
    """Seconds of CPU time, of this process and of programs that have ended."""
    resource = session.library("resource")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime for one in used), sum(one.ru_stime for one in used)


def timed(line, body=None):
    """%time statement, %%time: runs it and tells its CPU and wall time."""
    time = session.library("time")
    source = line if body is None else (line + "\n" if line else "") + body
    before, wall = _used(), time.perf_counter()
    try:
        return shell_part.run_code(source)
    finally:
        wall = time.perf_counter() - wall
        user, system = (after - since for after, since in zip(_used(), before))
        sys.stdout.write("CPU times: user %s, sys: %s, total: %s\nWall time: %s\n" % (
            duration(user), duration(system), duration(user + system), duration(wall)))


class TimeitResult:
    """What %timeit -o gives."""

    def __init__(self, loops, repeat, all_runs):
        self.loops, self.repeat = loops, repeat
        self.all_runs = all_runs
        self.timings = [one / loops for one in all_runs]
        self.best, self.worst = min(self.timings), max(self.timings)
        self.average = sum(self.timings) / repeat
        self.stdev = (sum((one - self.average) ** 2 for one in self.timings) / repeat) ** 0.5

    def __str__(self):
        return "%s ± %s per loop (mean ± std. dev. of %d run%s, %s loop%s each)" % (
            duration(self.average), duration(self.stdev), self.repeat,
            "" if self.repeat == 1 else "s", format(self.loops, ","),
            "" if self.loops == 1 else "s")

    def __repr__(self):
        return "<TimeitResult : %s>" % self


def timeit(line, body=None):
    """%timeit statement, %%timeit [setup]: runs it often and tells the mean; -n loops,
    -r repetitions, -q quiet, -o gives the result, -t and -c choose the clock, -p digits."""
    options, statement = arguments.options(line, "qotc", "nrp")
    loops, repeat = arguments.number(options, "n", 0, "timeit"), arguments.number(options, "r", 7, "timeit")
    if repeat < 1 or loops < 0:
        raise UsageError("%timeit: -n and -r want numbers above 0")
    setup = "pass"
    if body is not None:
        setup, statement = statement.strip() or "pass", body
    if not statement.strip():
        raise UsageError("%timeit wants a statement")
    library = session.library("timeit")
    clock = session.library("time").process_time if "c" in options else library.default_timer
    statement, setup = (_python(code) for code in (statement, setup))
    timer = library.Timer(statement, setup, clock, globals=namespace())
    if not loops:
        loops = 1
        while timer.timeit(loops) < 0.2 and loops < 10 ** 9:
            loops *= 10
    result = TimeitResult(loops, repeat, timer.repeat(repeat, loops))
    if "q" not in options:
        sys.stdout.write("%s\n" % result)
    return result if "o" in options else None


def _python(source):
    return shell.transform_cell(source)


def prun(line, body=None):
    """%prun statement, %%prun: runs it under the profiler; -l lines, -s sort key, -q."""
    options, statement = arguments.options(line, "qr", "lsTD")
    source = statement if body is None else statement + "\n" + body
    profile, pstats = session.library("cProfile").Profile(), session.library("pstats")
    try:
        profile.enable()
        shell_part.run_code(source)
    finally:
        profile.disable()
    stream = session.library("io").StringIO()
    stats = pstats.Stats(profile, stream=stream).strip_dirs().sort_stats(
        options.get("s", "time"))
    stats.print_stats(*([int(options["l"])] if options.get("l", "").isdigit() else []))
    if "q" not in options:
        sys.stdout.write(stream.getvalue().strip() + "\n")
    return stats if "r" in options else None
