"""Exceptions as error events: only the user's frames, with the user's own lines.
`session` is session.py."""
_FRAMES_MAX = 2000  # frames of one traceback that are looked at, from both ends

minimal = False  # %xmode Minimal: no frames
last = None  # the exception that was reported last


def _safe_str(error):
    try:
        text = str(error)
        return text if type(text) is str else str.__str__(text)
    except BaseException:
        return "<exception str() failed>"


def _name(error):
    try:
        return str(type(error).__name__)
    except BaseException:
        return "Exception"


def _of_runner(filename):
    return filename.startswith(session.RUNNER)


def _user_trace(trace):
    """The traceback without the runner's frames. What stands before the first
    frame of a cell (the event loop under a top-level await) is no business of the
    user's either."""
    entries = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    first = 0
    for index, entry in enumerate(entries):
        if entry.tb_frame.f_code.co_filename in session.sources:
            first = index
            break
    entries = [entry for entry in entries[first:]
               if not _of_runner(entry.tb_frame.f_code.co_filename)]
    if len(entries) > _FRAMES_MAX:
        half = _FRAMES_MAX // 2
        entries = entries[:half] + entries[-half:]
    result = None
    for entry in reversed(entries):
        result = type(entry)(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return result


def _related(error):
    """The exception and all that it is chained to or made of."""
    seen, waiting = [], [error]
    known = set()
    while waiting and len(seen) < 1000:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in known:
            continue
        known.add(id(one))
        seen.append(one)
        waiting += [one.__cause__, one.__context__]
        members = getattr(one, "exceptions", None)
        if isinstance(members, (tuple, list)):
            waiting += members
    return seen


def _tell_sources(trace, cache):
    """Of the cells that the traceback passes, and no others: there may be thousands."""
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if filename in session.sources and filename not in cache:
            cache[filename] = session.linecache_entry(filename)
        trace = trace.tb_next


def lines(error):
    """The traceback as Python prints it, as lines without their ends."""
    session.library("ast")  # traceback imports it late, when a file ast.py may be in its way
    traceback = session.library("traceback")
    linecache = session.library("linecache")
    for one in _related(error):
        one.__traceback__ = _user_trace(one.__traceback__)
        _tell_sources(one.__traceback__, linecache.cache)
    report = traceback.TracebackException(type(error), error, error.__traceback__)
    return "".join(report.format()).rstrip("\n").split("\n")


def _short_lines(error):
    """When the traceback module cannot: the code has changed it, or memory is
    short."""
    result = ["Traceback (most recent call last):"]
    trace = error.__traceback__
    while trace is not None and len(result) < 50:
        code = trace.tb_frame.f_code
        if not _of_runner(code.co_filename):
            result.append('  File "%s", line %s, in %s'
                          % (code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    text = _safe_str(error)
    result.append(_name(error) + (": " + text if text else ""))
    return result


def _errno(error):
    """What the kernel said, so that the engine can tell a limit from another failure."""
    if isinstance(error, OSError) and type(error.errno) is int:
        return error.errno
    if isinstance(error, MemoryError):
        return 12  # ENOMEM
    if type(error) is RuntimeError and error.args == ("can't start new thread",):
        return 11  # EAGAIN
    return None


def _emit(error, trace):
    event = {"name": _name(error), "value": _safe_str(error), "traceback": trace}
    number = _errno(error)
    if number is not None:
        event["errno"] = number
    session.channel.emit(session.ERROR, session.part("display").encode(event))


def report(error):
    """Emits the error event."""
    global last
    last = error
    shell = session._parts.get("shell")
    if shell is not None and type(error) is shell.UsageError:
        trace = ["UsageError: " + _safe_str(error)]
    elif minimal:
        trace = [_name(error) + ": " + _safe_str(error)]
    else:
        try:
            trace = lines(error)
        except Exception:
            trace = _short_lines(error)
    _emit(error, trace)


def report_briefly(error):
    _emit(error, _short_lines(error))


def report_to_stderr(error):
    """For an error that does not end the cell: in a forked child, in a __repr__."""
    try:
        trace = lines(error)
    except Exception:
        trace = _short_lines(error)
    session.stderr.write("\n".join(trace) + "\n")
