/* worker.c - the worker half: libpython, and the calls of kiln_worker.
 *
 * Thread and GIL: preload keeps the GIL, since the zygote forks with it; a
 * worker gives it back between cells, so that threads that the code left
 * behind go on. */
#include "worker.h"
#include "channel.h"

#include <errno.h>
#include <glob.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const kiln_worker_host *host;
static PyObject *run_start, *run_execute, *run_analyze, *run_query; /* of session.py */
static PyObject *run_branched, *run_touch;
static PyObject *run_rehearsal, *run_forget;
static PyObject *analysis;    /* owns the last answer of analyze or query */
static unsigned failures;     /* of the runner, in a row */
static PyThreadState *thread; /* while the GIL is given back */

static void log_exception(const char *what)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *text = value ? PyObject_Repr(value) : NULL;
    const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
    char line[512];
    snprintf(line, sizeof(line), "interpreter: %s: %s", what,
             utf8 ? utf8 : "unknown exception");
    host->log(KILN_PLUGIN_LOG_ERROR, line);
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

/* libpython is in this program, its standard library is not: it comes with the tree that
 * the sandbox shows. NULL, or what is wrong with it. */
static const char *check_library(void)
{
    static char text[512];
    char library[64];
    glob_t others;
    snprintf(library, sizeof(library), "/usr/lib/python%d.%d/encodings/__init__.py",
             PY_MAJOR_VERSION, PY_MINOR_VERSION);
    if (access(library, R_OK) == 0)
        return NULL;
    bool found = glob("/usr/lib/python3.*", GLOB_ONLYDIR, NULL, &others) == 0;
    snprintf(text, sizeof(text),
             "the sandbox has no /usr/lib/python%d.%d (%s%s): this interpreter was built with "
             "Python %s and needs its standard library; install libpython%d.%d-stdlib in "
             "[sandbox] root, or leave that empty",
             PY_MAJOR_VERSION, PY_MINOR_VERSION, found ? "it has " : "no Python 3 at all",
             found ? others.gl_pathv[0] : "", PY_VERSION, PY_MAJOR_VERSION, PY_MINOR_VERSION);
    globfree(&others);
    return text;
}

/* Debian's Python as the command has it, but for: no environment variables, no
 * user site, nothing of the current directory in front of sys.path, UTF-8
 * everywhere. site.py runs later, if a package outside the standard library is
 * imported (imports.py): it is a third of a start's cost. */
static const char *initialize(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");

    PyPreConfig preconfig;
    PyPreConfig_InitIsolatedConfig(&preconfig);
    preconfig.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&preconfig);
    if (PyStatus_Exception(status))
        return status.err_msg;

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.parse_argv = 0;
    config.install_signal_handlers = 0;
    config.site_import = 0;
    config.write_bytecode = 0; /* __pycache__ would be among the output files */
    config.buffered_stdio = 0;
    const char *seed = host->option("seed");
    if (seed && *seed) {
        char *end;
        unsigned long number = strtoul(seed, &end, 10);
        if (*seed < '0' || *seed > '9' || *end || number > 4294967295UL)
            return "[backend interpreter] seed: not a number from 0 to 4294967295";
        config.use_hash_seed = 1;
        config.hash_seed = number;
    }
    status = PyConfig_SetString(&config, &config.program_name, L"/usr/bin/python3");
    if (!PyStatus_Exception(status))
        status = PyConfig_SetString(&config, &config.executable, L"/usr/bin/python3");
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return PyStatus_Exception(status) ? status.err_msg : NULL;
}

/* The runner's module. It has a copy of the builtins, so that code which
 * replaces builtins.compile or len does not reach it, and it is in no
 * sys.modules. */
static PyObject *load_session(PyObject *channel)
{
    PyObject *module = PyModule_New("kiln.session");
    PyObject *builtins = PyDict_Copy(PyEval_GetBuiltins());
    PyObject *code = kiln_channel_code("session");
    PyObject *result = NULL;
    if (module && builtins && code) {
        PyObject *globals = PyModule_GetDict(module);
        if (PyDict_SetItemString(globals, "__builtins__", builtins) == 0 &&
            PyDict_SetItemString(globals, "channel", channel) == 0)
            result = PyEval_EvalCode(code, globals, globals);
    }
    Py_XDECREF(code);
    Py_XDECREF(builtins);
    if (!result)
        Py_CLEAR(module);
    Py_XDECREF(result);
    return module;
}

static int preload(const kiln_worker_host *worker_host, const char **error)
{
    host = worker_host;
    kiln_memory_prepare();
    const char *failure = check_library();
    if (!failure)
        failure = initialize();
    if (failure) {
        *error = failure;
        return -1;
    }
    PyObject *channel = kiln_channel_new(host);
    PyObject *session = channel ? load_session(channel) : NULL;
    PyObject *loaded = NULL;
    if (session) {
        run_start = PyObject_GetAttrString(session, "start");
        run_execute = PyObject_GetAttrString(session, "execute");
        run_analyze = PyObject_GetAttrString(session, "analyze");
        run_query = PyObject_GetAttrString(session, "query");
        run_rehearsal = PyObject_GetAttrString(session, "rehearsal");
        run_forget = PyObject_GetAttrString(session, "forget");
        run_branched = PyObject_GetAttrString(session, "branched");
        run_touch = PyObject_GetAttrString(session, "touch");
        if (run_start && run_execute && run_analyze && run_query && run_rehearsal &&
            run_forget && run_branched && run_touch)
            loaded = PyObject_CallMethod(session, "preload", NULL);
    }
    Py_XDECREF(channel);
    Py_XDECREF(session);
    if (!loaded) {
        log_exception("preload");
        *error = "interpreter: the runner could not be loaded";
        return -1;
    }
    Py_DECREF(loaded);
    kiln_memory_settle();
    return 0;
}

static int start(void)
{
    /* As python3 does: a reader that left, and a file above its limit, are exceptions, not
     * the session's end. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    PyOS_AfterFork_Child();
    kiln_memory_forked();
    kiln_channel_start();
    PyObject *done = PyObject_CallNoArgs(run_start);
    if (!done) {
        log_exception("start");
        return -1;
    }
    Py_DECREF(done);
    thread = PyEval_SaveThread();
    return 0;
}

/* NULL-terminated strings as a list of str, None when there are none. */
static PyObject *string_list(const char *const *strings)
{
    if (!strings || !strings[0])
        return Py_NewRef(Py_None);
    PyObject *list = PyList_New(0);
    for (; list && *strings; strings++) {
        PyObject *text = PyUnicode_DecodeFSDefault(*strings);
        if (!text || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

/* Whether an empty cell comes to its end. */
static bool runner_works(uint64_t execution_count)
{
    PyObject *result =
        PyObject_CallFunction(run_execute, "sK", "", (unsigned long long)execution_count);
    PyErr_Clear();
    Py_XDECREF(result);
    return result != NULL;
}

/* The runner itself failed, or an interrupt came in its last instructions. */
static void escaped(const kiln_cell *cell, kiln_verdict *verdict)
{
    bool interrupt = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
    static const char interrupt_json[] =
        "{\"name\":\"KeyboardInterrupt\",\"value\":\"\",\"traceback\":[\"KeyboardInterrupt\"]}";
    static const char failure_json[] =
        "{\"name\":\"RuntimeError\",\"value\":\"the cell runner failed\","
        "\"traceback\":[\"RuntimeError: the cell runner failed\"]}";
    kiln_event event = {sizeof(event),
                        KILN_EVENT_ERROR,
                        0,
                        0,
                        interrupt ? interrupt_json : failure_json,
                        (interrupt ? sizeof(interrupt_json) : sizeof(failure_json)) - 1};
    if (interrupt)
        PyErr_Clear();
    else
        log_exception("execute");
    host->emit(&event);
    verdict->status = interrupt ? KILN_STATUS_INTERRUPTED : KILN_STATUS_ERROR;
    /* Where code has broken it for good, an end that the engine sees: the next cell gets
     * a new session instead of the same answer for ever. Twice in a row: what is broken
     * is not needed for an empty cell, but for every other. */
    if (!interrupt && (++failures > 1 || !runner_works(cell->execution_count)))
        _exit(EXIT_FAILURE);
}

static void read_verdict(PyObject *result, const kiln_cell *cell, kiln_verdict *verdict)
{
    if (!PyTuple_Check(result) || PyTuple_GET_SIZE(result) != 2)
        PyErr_SetString(PyExc_TypeError, "the runner's verdict is not a pair");
    else {
        long status = PyLong_AsLong(PyTuple_GET_ITEM(result, 0));
        PyObject *code = PyTuple_GET_ITEM(result, 1);
        if (code != Py_None) {
            verdict->has_exit_code = true;
            verdict->exit_code = (int32_t)(PyLong_AsLong(code) & 0xff);
        }
        verdict->status = (uint32_t)status;
        failures = 0;
    }
    if (PyErr_Occurred())
        escaped(cell, verdict);
}

/* Calls a function of the runner's, between two cells. */
static int call(PyObject *function, const char *name)
{
    PyObject *done = PyObject_CallNoArgs(function);
    Py_XDECREF(done);
    if (!done)
        log_exception(name);
    return done ? 0 : -1;
}

static int branched(void)
{
    PyEval_RestoreThread(thread);
    kiln_channel_branch(true);
    PyOS_AfterFork_Child();
    kiln_channel_branch(false);
    kiln_channel_start();
    int rc = call(run_branched, "branched");
    thread = PyEval_SaveThread();
    return rc;
}

static int touch(void)
{
    PyEval_RestoreThread(thread);
    int rc = call(run_touch, "touch");
    thread = PyEval_SaveThread();
    return rc;
}

static int execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    PyEval_RestoreThread(thread);
    kiln_channel_enter();
    verdict->status = KILN_STATUS_ERROR;
    verdict->has_exit_code = false;
    PyObject *result = NULL;
    PyObject *arguments[6] = {
        PyUnicode_DecodeUTF8(cell->code, (Py_ssize_t)cell->code_length, "replace"),
        PyLong_FromUnsignedLongLong(cell->execution_count),
        cell->cell_id
            ? PyUnicode_DecodeUTF8(cell->cell_id, (Py_ssize_t)strlen(cell->cell_id), "replace")
            : Py_NewRef(Py_None),
        cell->stdin_data
            ? PyBytes_FromStringAndSize(cell->stdin_data, (Py_ssize_t)cell->stdin_length)
            : Py_NewRef(Py_None),
        string_list(cell->args),
        string_list(cell->env),
    };
    bool complete = true;
    for (size_t i = 0; i < 6; i++)
        complete = complete && arguments[i];
    if (complete)
        result = PyObject_Vectorcall(run_execute, arguments, 6, NULL);
    for (size_t i = 0; i < 6; i++)
        Py_XDECREF(arguments[i]);
    /* A child that the code forked has run to the end of the cell: it must not go
     * on as a second worker. session.py has told it so before. */
    if (!kiln_channel_owned())
        _exit(result ? 0 : 1);
    if (result)
        read_verdict(result, cell, verdict);
    else
        escaped(cell, verdict);
    Py_XDECREF(result);
    kiln_channel_leave();
    thread = PyEval_SaveThread();
    return 0;
}

/* The same way as a cell's, in C and in Python. */
static int rehearse(uint32_t turn, bool last)
{
    static const char *const none[] = {NULL};
    kiln_verdict ignored = {.size = sizeof(ignored)};
    PyEval_RestoreThread(thread);
    PyObject *source = PyObject_CallFunction(run_rehearsal, "I", (unsigned)turn);
    Py_ssize_t length;
    const char *code = source ? PyUnicode_AsUTF8AndSize(source, &length) : NULL;
    if (!code)
        log_exception("rehearsal");
    thread = PyEval_SaveThread();
    const kiln_cell cell = {.size = sizeof(cell),
                            .code = code,
                            .code_length = code ? (size_t)length : 0,
                            .execution_count = turn + 1,
                            .args = none,
                            .env = none};
    int result = code ? execute(&cell, &ignored) : -1;
    PyEval_RestoreThread(thread);
    Py_XDECREF(source);
    PyObject *forgotten = result == 0 && last ? PyObject_CallNoArgs(run_forget) : NULL;
    if (result == 0 && last && !forgotten) {
        log_exception("rehearsal");
        result = -1;
    }
    Py_XDECREF(forgotten);
    thread = PyEval_SaveThread();
    return result;
}

static int analyze(const char *code, size_t length, const char **json)
{
    PyEval_RestoreThread(thread);
    PyObject *text = PyUnicode_DecodeUTF8(code, (Py_ssize_t)length, "replace");
    PyObject *answer = text ? PyObject_CallOneArg(run_analyze, text) : NULL;
    Py_XDECREF(text);
    *json = answer ? PyUnicode_AsUTF8(answer) : NULL;
    if (*json)
        Py_XSETREF(analysis, Py_NewRef(answer));
    else
        log_exception("analyze");
    Py_XDECREF(answer);
    thread = PyEval_SaveThread();
    return *json ? 0 : -1;
}

/* Takes the exception: why a query has no answer. */
static const char *why_not(void)
{
    bool interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    const char *name = ((PyTypeObject *)type)->tp_name;
    PyObject *text = interrupted ? PyUnicode_FromString("it was interrupted")
                                 : PyUnicode_FromFormat("it failed: %s", name);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    Py_XSETREF(analysis, text);
    const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
    PyErr_Clear();
    return utf8;
}

static int query(const char *name, const char *arguments, size_t length, const char **json)
{
    PyEval_RestoreThread(thread);
    PyObject *text = PyUnicode_DecodeUTF8(arguments, (Py_ssize_t)length, "replace");
    PyObject *name_text = PyUnicode_FromString(name);
    PyObject *answer = text && name_text
                           ? PyObject_CallFunctionObjArgs(run_query, name_text, text, NULL)
                           : NULL;
    if (!kiln_channel_owned())
        _exit(0);
    kiln_channel_leave();
    Py_XDECREF(text);
    Py_XDECREF(name_text);
    int rc = answer == Py_None ? -ENOTSUP : answer ? 0 : -EIO;
    if (rc == 0) {
        *json = PyUnicode_AsUTF8(answer);
        Py_XSETREF(analysis, Py_NewRef(answer));
        rc = *json ? 0 : -EIO;
    }
    if (PyErr_Occurred())
        *json = why_not();
    Py_XDECREF(answer);
    thread = PyEval_SaveThread();
    return rc;
}

static const kiln_worker worker = {
    .size = sizeof(kiln_worker),
    .preload = preload,
    .start = start,
    .execute = execute,
    .analyze = analyze,
    .branched = branched,
    .rehearse = rehearse,
    .query = query,
    .touch = touch,
    .interrupt = kiln_channel_interrupt,
};

KILN_WORKER(worker)
