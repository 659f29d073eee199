/* channel.c - output, interrupts, options and embedded code for the runner. */
#include "channel.h"
#include "nudge.h"
#include "worker.h"

#include <errno.h>
#include <marshal.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    STREAM_PIECE = 1 << 20, /* bytes of one stream event: well under a frame's bound */
    LINE_BUFFER = 4096,
};

static const kiln_worker_host *host;
static pid_t owner;                       /* the worker; 0 before start */
static bool branching;                    /* a fork is ours, not the code's */
static bool in_cell;                      /* changed and read with the GIL held */
static volatile sig_atomic_t armed;       /* an interrupt raises KeyboardInterrupt */
static volatile sig_atomic_t interrupted; /* one came while armed */
static PyObject *get_signal, *set_signal, *default_handler; /* of Python's own */
static PyObject *builtin_print;
static PyTypeObject *stream_type; /* session.Stream, whose writes are ours alone */

/* ------------------------------------------------------------------ streams */

static int write_descriptor(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n >= 0) {
            data += n;
            length -= (size_t)n;
        } else if (errno == EINTR) {
            if (PyErr_CheckSignals() < 0)
                return -1;
        } else {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
    }
    return 0;
}

/* Written at once: what was printed outlives the worker. */
static int emit_stream(int stream, const char *data, size_t length)
{
    /* A forked child must not write into the middle of the worker's frames. */
    if (!in_cell || !host->owned())
        return write_descriptor(stream, data, length);
    while (length > 0) {
        size_t piece = length < STREAM_PIECE ? length : STREAM_PIECE;
        kiln_event event = {sizeof(event), KILN_EVENT_STREAM, (uint32_t)stream, 0, data, piece};
        host->emit(&event);
        data += piece;
        length -= piece;
    }
    return 0;
}

/* UTF-8 of any str: file names come back as their bytes, other lone surrogates
 * as \udXXX. *holder owns the result when it is not NULL. */
static const char *text_bytes(PyObject *text, Py_ssize_t *length, PyObject **holder)
{
    *holder = NULL;
    const char *data = PyUnicode_AsUTF8AndSize(text, length);
    if (data || !PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        return data;
    PyErr_Clear();
    *holder = PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape");
    if (!*holder && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        *holder = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    }
    if (!*holder)
        return NULL;
    *length = PyBytes_GET_SIZE(*holder);
    return PyBytes_AS_STRING(*holder);
}

static PyObject *channel_stream(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "stream(number, data)");
    int number = (int)PyLong_AsLong(args[0]);
    if (number != KILN_STDOUT && number != KILN_STDERR) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "stream: 1 or 2");
        return NULL;
    }
    if (PyUnicode_Check(args[1])) {
        PyObject *holder;
        Py_ssize_t length;
        const char *data = text_bytes(args[1], &length, &holder);
        int result = data ? emit_stream(number, data, (size_t)length) : -1;
        Py_XDECREF(holder);
        if (result < 0)
            return NULL;
        return PyLong_FromSsize_t(PyUnicode_GET_LENGTH(args[1]));
    }
    Py_buffer buffer;
    if (PyObject_GetBuffer(args[1], &buffer, PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    Py_ssize_t length = buffer.len;
    int result = emit_stream(number, buffer.buf, (size_t)length);
    PyBuffer_Release(&buffer);
    return result < 0 ? NULL : PyLong_FromSsize_t(length);
}

/* One line being put together, so that print() is one write. */
typedef struct line {
    char *data;
    size_t length, capacity;
    char space[LINE_BUFFER];
} line;

static int line_append(line *out, PyObject *text)
{
    PyObject *holder;
    Py_ssize_t length;
    const char *data = text_bytes(text, &length, &holder);
    int result = -1;
    if (!data)
        goto out;
    size_t need = out->length + (size_t)length;
    if (need > out->capacity) {
        size_t capacity = need + need / 2;
        char *grown = out->data == out->space ? malloc(capacity) : realloc(out->data, capacity);
        if (!grown) {
            PyErr_NoMemory();
            goto out;
        }
        if (out->data == out->space)
            memcpy(grown, out->space, out->length);
        out->data = grown;
        out->capacity = capacity;
    }
    memcpy(out->data + out->length, data, (size_t)length);
    out->length = need;
    result = 0;
out:
    Py_XDECREF(holder);
    return result;
}

static int line_append_object(line *out, PyObject *object)
{
    PyObject *text = PyObject_Str(object);
    if (!text)
        return -1;
    int result = line_append(out, text);
    Py_DECREF(text);
    return result;
}

/* True when `file` is a stream of ours that nothing was hung onto. */
static bool plain_stream(PyObject *file)
{
    if (!file || !stream_type || Py_TYPE(file) != stream_type)
        return false;
    PyObject **dict = _PyObject_GetDictPtr(file);
    return !dict || !*dict || PyDict_GET_SIZE(*dict) == 0;
}

/* As the builtin, but a line to our own streams is one write and not two or
 * more; everything else is handed to the builtin. */
static PyObject *channel_print(PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *names)
{
    (void)self;
    PyObject *separator = NULL, *end = NULL, *file = NULL;
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
    bool plain = true;
    for (Py_ssize_t i = 0; i < keywords; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i), *value = args[count + i];
        if (PyUnicode_CompareWithASCIIString(name, "end") == 0)
            end = value == Py_None ? NULL : value;
        else if (PyUnicode_CompareWithASCIIString(name, "sep") == 0)
            separator = value == Py_None ? NULL : value;
        else if (PyUnicode_CompareWithASCIIString(name, "file") == 0)
            file = value == Py_None ? NULL : value;
        else if (PyUnicode_CompareWithASCIIString(name, "flush") != 0)
            plain = false;
    }
    if (!file)
        file = PySys_GetObject("stdout");
    if (!plain || !plain_stream(file) || (separator && !PyUnicode_Check(separator)) ||
        (end && !PyUnicode_Check(end)))
        return PyObject_Vectorcall(builtin_print, args, (size_t)count, names);

    Py_INCREF(file); /* a __str__ may replace sys.stdout */
    PyObject *result = NULL;
    line out;
    out.data = out.space;
    out.length = 0;
    out.capacity = sizeof(out.space);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i > 0 && separator) {
            if (line_append(&out, separator) < 0)
                goto out;
        } else if (i > 0) {
            PyObject *space = PyUnicode_FromString(" ");
            int appended = space ? line_append(&out, space) : -1;
            Py_XDECREF(space);
            if (appended < 0)
                goto out;
        }
        if (line_append_object(&out, args[i]) < 0)
            goto out;
    }
    if (end) {
        if (line_append(&out, end) < 0)
            goto out;
    } else {
        PyObject *newline = PyUnicode_FromString("\n");
        int appended = newline ? line_append(&out, newline) : -1;
        Py_XDECREF(newline);
        if (appended < 0)
            goto out;
    }
    /* The stream's own write() sees to closed streams. */
    PyObject *number = PyObject_CallMethod(file, "_open_number", NULL);
    if (!number)
        goto out;
    int stream = (int)PyLong_AsLong(number);
    Py_DECREF(number);
    if (emit_stream(stream, out.data, out.length) < 0)
        goto out;
    result = Py_NewRef(Py_None);
out:
    if (out.data != out.space)
        free(out.data);
    Py_DECREF(file);
    return result;
}

PyDoc_STRVAR(print_doc,
             "print($module, /, *args, sep=' ', end='\\n', file=None, flush=False)\n--\n\n"
             "Prints the values to a stream, or to sys.stdout by default.\n\n"
             "  sep\n    string inserted between values, default a space.\n"
             "  end\n    string appended after the last value, default a newline.\n"
             "  file\n    a file-like object (stream); defaults to the current sys.stdout.\n"
             "  flush\n    whether to forcibly flush the stream.");

static PyMethodDef print_method = {"print", (PyCFunction)(void (*)(void))channel_print,
                                   METH_FASTCALL | METH_KEYWORDS, print_doc};

/* print_to(Stream) -> the print to be put into builtins */
static PyObject *channel_print_to(PyObject *self, PyObject *type)
{
    (void)self;
    if (!PyType_Check(type))
        return PyErr_Format(PyExc_TypeError, "print_to(type)");
    Py_XSETREF(stream_type, (PyTypeObject *)Py_NewRef(type));
    PyObject *builtins = PyEval_GetBuiltins();
    PyObject *print = builtins ? PyDict_GetItemString(builtins, "print") : NULL;
    if (!print)
        return PyErr_Format(PyExc_RuntimeError, "no print in builtins");
    Py_XSETREF(builtin_print, Py_NewRef(print));
    PyObject *module = PyUnicode_FromString("builtins");
    if (!module)
        return NULL;
    /* Bound to its module, as the one that it stands for: inspect.signature looks there. */
    PyObject *function =
        PyCFunction_NewEx(&print_method, PyImport_AddModule("builtins"), module);
    Py_DECREF(module);
    return function;
}

/* ------------------------------------------------------------------- events */

static PyObject *emit(PyObject *const *args, Py_ssize_t count, uint32_t flags)
{
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "emit(type, json)");
    long type = PyLong_AsLong(args[0]);
    if (type == -1 && PyErr_Occurred())
        return NULL;
    Py_ssize_t length;
    const char *json = PyUnicode_AsUTF8AndSize(args[1], &length);
    if (!json)
        return NULL;
    if (!in_cell || !host->owned())
        Py_RETURN_FALSE;
    kiln_event event = {sizeof(event), (uint32_t)type, 0, flags, json, (size_t)length};
    host->emit(&event);
    Py_RETURN_TRUE;
}

/* emit(type, json) -> False when no cell of this process runs */
static PyObject *channel_emit(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    return emit(args, count, 0);
}

/* emit_last(type, json), when nothing but the cell's end follows */
static PyObject *channel_emit_last(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    return emit(args, count, KILN_EVENT_LAST);
}

static PyObject *channel_log(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "log(level, text)");
    long level = PyLong_AsLong(args[0]);
    const char *text = PyUnicode_AsUTF8(args[1]);
    if (!text || (level == -1 && PyErr_Occurred()))
        return NULL;
    host->log((uint32_t)level, text);
    Py_RETURN_NONE;
}

static PyObject *channel_option(PyObject *self, PyObject *name)
{
    (void)self;
    const char *text = PyUnicode_AsUTF8(name);
    if (!text)
        return NULL;
    const char *value = host->option(text);
    return value ? PyUnicode_FromString(value) : Py_NewRef(Py_None);
}

/* --------------------------------------------------------------- interrupts */

/* In a signal's handler. */
bool kiln_channel_interrupt(void)
{
    if (!armed)
        return false;
    interrupted = 1;
    PyErr_SetInterruptEx(SIGINT);
    kiln_nudge_start();
    return true;
}

/* `_signal.signal` for the code. Under a handler of its own, as asyncio.run has one, the
 * system's stays the worker's, which nudges: Python's alone is not called when its signal
 * comes just before a system call that then sleeps. */
static PyObject *signal_signal(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    static struct sigaction workers;
    static bool known;
    struct sigaction before;
    (void)module;
    sigaction(SIGINT, NULL, &before);
    if (before.sa_flags & SA_SIGINFO) { /* Python sets no such */
        workers = before;
        known = true;
    }
    PyObject *result = PyObject_Vectorcall(set_signal, args, (size_t)count, NULL);
    if (result && known && PyLong_AsLong(args[0]) == SIGINT && PyCallable_Check(args[1]))
        sigaction(SIGINT, &workers, NULL);
    return result;
}

/* What the code has set with signal.signal() holds for its own cell. */
static int restore_handler(void)
{
    PyObject *number = PyLong_FromLong(SIGINT);
    PyObject *handler = number ? PyObject_CallOneArg(get_signal, number) : NULL;
    int result = handler ? 0 : -1;
    if (handler && handler != default_handler) {
        PyObject *arguments[] = {number, default_handler};
        PyObject *before = signal_signal(NULL, arguments, 2);
        result = before ? 0 : -1;
        Py_XDECREF(before);
    }
    Py_XDECREF(handler);
    Py_XDECREF(number);
    return result;
}

static PyMethodDef signal_method = {"signal", (PyCFunction)(void (*)(void))signal_signal,
                                    METH_FASTCALL, NULL};

/* arm(True): an interrupt raises KeyboardInterrupt from now on, and at once if it came
 * since the cell began. arm(False): no longer; what is still pending is dropped.
 * Returns whether one came since arm(True). */
static PyObject *channel_arm(PyObject *self, PyObject *on)
{
    (void)self;
    if (on == Py_True) {
        if (restore_handler() < 0)
            return NULL;
        kiln_nudge_prepare(owner);
        interrupted = 0;
        armed = 1;
        if (host->interrupted())
            kiln_channel_interrupt();
    } else {
        armed = 0;
        kiln_nudge_stop();
        for (int i = 0; i < 8 && PyErr_CheckSignals() < 0; i++)
            PyErr_Clear();
    }
    return PyBool_FromLong(interrupted);
}

/* sys.unraisablehook: an interrupt that came where Python lets no exception out, as in a
 * __del__, is raised again where it does. Not in Python: it would come in there. */
static PyObject *channel_unraisable(PyObject *self, PyObject *what)
{
    (void)self;
    PyObject *type = PyObject_GetAttrString(what, "exc_type");
    Py_XDECREF(type);
    if (type == PyExc_KeyboardInterrupt && armed && interrupted) {
        PyErr_SetInterruptEx(SIGINT);
        Py_RETURN_NONE;
    }
    PyObject *hook = type ? PySys_GetObject("__unraisablehook__") : NULL;
    return hook ? PyObject_CallOneArg(hook, what) : NULL;
}

/* --------------------------------------------------------------------- code */

PyObject *kiln_channel_code(const char *name)
{
    size_t length;
    const char *data = kiln_embedded_bytecode(name, &length);
    if (data)
        return PyMarshal_ReadObjectFromString(data, (Py_ssize_t)length);
    data = kiln_embedded_source(name, &length);
    if (!data)
        return PyErr_Format(PyExc_ImportError, "the runner has no part %s", name);
    char filename[64];
    snprintf(filename, sizeof(filename), "<kiln>/%s.py", name);
    return Py_CompileString(data, filename, Py_file_input);
}

static PyObject *channel_code(PyObject *self, PyObject *name)
{
    (void)self;
    const char *text = PyUnicode_AsUTF8(name);
    return text ? kiln_channel_code(text) : NULL;
}

/* ------------------------------------------------------------------- calls */

static int ask_engine(const Py_buffer *request, const char **reply, size_t *length)
{
    PyThreadState *thread = PyEval_SaveThread();
    int rc = host->call(request->buf, (size_t)request->len, reply, length);
    PyEval_RestoreThread(thread);
    while (rc == -EINTR) {
        if (PyErr_CheckSignals() < 0)
            return -1; /* given up: the worker throws the answer away */
        thread = PyEval_SaveThread();
        rc = host->call(NULL, 0, reply, length);
        PyEval_RestoreThread(thread);
    }
    if (rc == 0)
        return 0;
    if (rc == -EPERM)
        PyErr_SetString(PyExc_RuntimeError,
                        "only the thread that runs the cell, in its own process, can call");
    else if (rc == -ENOMEM)
        PyErr_NoMemory();
    else
        PyErr_Format(PyExc_OSError, "the engine cannot be called: %s", strerror(-rc));
    return -1;
}

static PyObject *channel_call(PyObject *self, PyObject *data)
{
    (void)self;
    Py_buffer request;
    const char *reply = NULL;
    size_t length = 0;
    if (host->size < offsetof(kiln_worker_host, call) + sizeof(host->call) || !host->call)
        return PyErr_Format(PyExc_RuntimeError, "no engine can be called from here");
    if (PyObject_GetBuffer(data, &request, PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    int rc = ask_engine(&request, &reply, &length);
    PyBuffer_Release(&request);
    return rc < 0 ? NULL : PyBytes_FromStringAndSize(reply, (Py_ssize_t)length);
}

static PyObject *channel_branching(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    return PyBool_FromLong(branching);
}

static PyMethodDef methods[] = {
    {"stream", (PyCFunction)(void (*)(void))channel_stream, METH_FASTCALL, NULL},
    {"emit", (PyCFunction)(void (*)(void))channel_emit, METH_FASTCALL, NULL},
    {"emit_last", (PyCFunction)(void (*)(void))channel_emit_last, METH_FASTCALL, NULL},
    {"log", (PyCFunction)(void (*)(void))channel_log, METH_FASTCALL, NULL},
    {"option", channel_option, METH_O, NULL},
    {"arm", channel_arm, METH_O, NULL},
    {"unraisable", channel_unraisable, METH_O, NULL},
    {"code", channel_code, METH_O, NULL},
    {"call", channel_call, METH_O, NULL},
    {"print_to", channel_print_to, METH_O, NULL},
    {"branching", channel_branching, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_kiln",
    "The runner's way out of the worker.",
    -1,
    methods,
    NULL,
    NULL,
    NULL,
    NULL,
};

/* In its place, by its name and with its text. */
static int put_signal(PyObject *module)
{
    PyObject *name = PyModule_GetNameObject(module);
    if (PyCFunction_Check(set_signal))
        signal_method.ml_doc = ((PyCFunctionObject *)set_signal)->m_ml->ml_doc;
    PyObject *ours = name ? PyCFunction_NewEx(&signal_method, module, name) : NULL;
    int rc = ours ? PyObject_SetAttrString(module, "signal", ours) : -1;
    Py_XDECREF(ours);
    Py_XDECREF(name);
    return rc;
}

/* `_signal` as it is before the code can reach it. */
static int find_signals(void)
{
    PyObject *module = PyImport_ImportModule("_signal");
    if (module) {
        get_signal = PyObject_GetAttrString(module, "getsignal");
        set_signal = PyObject_GetAttrString(module, "signal");
        default_handler = PyObject_GetAttrString(module, "default_int_handler");
    }
    int rc = get_signal && set_signal && default_handler ? put_signal(module) : -1;
    Py_XDECREF(module);
    return rc;
}

PyObject *kiln_channel_new(const kiln_worker_host *worker_host)
{
    host = worker_host;
    return find_signals() < 0 ? NULL : PyModule_Create(&definition);
}

void kiln_channel_branch(bool now)
{
    branching = now;
}

void kiln_channel_start(void)
{
    owner = getpid();
    in_cell = false;
    armed = 0;
}

void kiln_channel_enter(void)
{
    in_cell = true;
}

void kiln_channel_leave(void)
{
    in_cell = false;
}

bool kiln_channel_owned(void)
{
    return host->owned();
}
