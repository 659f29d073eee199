/* parts.h - the runner's Python files: X(name, "file"). The interpreter embeds them, and
 * the container's agent. */
#ifndef KILN_INTERPRETER_PARTS_H
#define KILN_INTERPRETER_PARTS_H

#define RUNNER_PARTS(X)                                                                        \
    X(session, "session.py")                                                                   \
    X(imports, "imports.py")                                                                   \
    X(preload, "preload.py")                                                                   \
    X(display, "display.py")                                                                   \
    X(pretty, "pretty.py")                                                                     \
    X(tracebacks, "tracebacks.py")                                                             \
    X(figures, "figures.py")                                                                   \
    X(magics, "magics.py")                                                                     \
    X(ipython, "ipython.py")                                                                   \
    X(analyze, "analyze.py")

#endif
