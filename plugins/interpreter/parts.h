/* parts.h - the runner's Python files: X(name, "file"). The interpreter embeds them, and
 * the container's agent. */
#ifndef KILN_INTERPRETER_PARTS_H
#define KILN_INTERPRETER_PARTS_H

#define RUNNER_PARTS(X)                                                                        \
    X(session, "session.py")                                                                   \
    X(streams, "streams.py")                                                                   \
    X(compiling, "compiling.py")                                                               \
    X(imports, "imports.py")                                                                   \
    X(preload, "preload.py")                                                                   \
    X(display, "display.py")                                                                   \
    X(pretty, "pretty.py")                                                                     \
    X(tracebacks, "tracebacks.py")                                                             \
    X(figures, "figures.py")                                                                   \
    X(formatters, "formatters.py")                                                             \
    X(lines, "lines.py")                                                                       \
    X(interactivity, "interactivity.py")                                                       \
    X(shell, "shell.py")                                                                       \
    X(events, "events.py")                                                                     \
    X(autoreload, "autoreload.py")                                                             \
    X(magics, "magics.py")                                                                     \
    X(arguments, "arguments.py")                                                               \
    X(timing, "timing.py")                                                                     \
    X(workspace, "workspace.py")                                                               \
    X(history, "history.py")                                                                   \
    X(describe, "describe.py")                                                                 \
    X(ipython, "ipython.py")                                                                   \
    X(display_classes, "display_classes.py")                                                   \
    X(analyze, "analyze.py")                                                                   \
    X(queries, "queries.py")                                                                   \
    X(lookup, "lookup.py")                                                                     \
    X(complete, "complete.py")                                                                 \
    X(inspect, "inspect.py")                                                                   \
    X(variables, "variables.py")                                                               \
    X(rehearsal, "rehearsal.py")                                                               \
    X(native, "native.py")

#endif
