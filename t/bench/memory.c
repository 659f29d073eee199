/* memory KILN SESSIONS - sessions of numpy, pandas and pyplot that have run five cells, a
 * small DataFrame among them, and are then idle. Prints, in KiB: `session`, private to the
 * median worker; `session_collected`, after gc.collect(); `engine`, the resident memory of
 * this process before there was a session, `engine_full` with all of them, `engine_after`
 * when they are closed. In microseconds: `cell_few`, a cell's round trip with ten sessions,
 * `cell_all` with all of them; `open_few`, `open_all`, a first cell's likewise. */
#include "measure_engine.h"

#include <dirent.h>

enum { FEW = 10, MOST = 2000, CELLS = 300 };

static measure private_kib = {.name = "session"};
static measure collected_kib = {.name = "session_collected"};
static measure engine_kib = {.name = "engine"};
static measure engine_full_kib = {.name = "engine_full"};
static measure engine_after_kib = {.name = "engine_after"};
static measure cell_few = {.name = "cell_few"};
static measure cell_all = {.name = "cell_all"};
static measure open_few = {.name = "open_few"};
static measure open_all = {.name = "open_all"};

static const char *const usual[] = {
    "x = 1", "print(x)", "import numpy as np; a = np.arange(100.0)", "a.sum()",
    "import pandas as pd\nd = pd.DataFrame({'k': list('abc'), 'v': range(3)})\nd"};

/* The sum of the fields' kB in a file of /proc, or 0. */
static double read_kib(const char *pid, const char *file, const char *const *fields)
{
    char path[64];
    char line[256];
    double sum = 0;
    snprintf(path, sizeof(path), "/proc/%s/%s", pid, file);
    FILE *in = fopen(path, "r");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
        for (const char *const *field = fields; *field != NULL; field++) {
            size_t length = strlen(*field);
            if (strncmp(line, *field, length) == 0 && line[length] == ':') {
                sum += atof(line + length + 1);
            }
        }
    }
    if (in != NULL) {
        fclose(in);
    }
    return sum;
}

static double resident_kib(void)
{
    static const char *const rss[] = {"VmRSS", NULL};
    return read_kib("self", "status", rss);
}

static int parent_of(int pid)
{
    char path[64];
    char text[512] = "";
    int parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *in = fopen(path, "r");
    if (in != NULL) {
        (void)!fgets(text, sizeof(text), in);
        fclose(in);
    }
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && sscanf(name_end, ") %*c %d", &parent) == 1 ? parent : 0;
}

static bool is_ours(int pid)
{
    while (pid > 1 && pid != getpid()) {
        pid = parent_of(pid);
    }
    return pid == getpid();
}

static void read_workers(measure *series)
{
    static const char *const private_[] = {"Private_Clean", "Private_Dirty", NULL};
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        char path[64];
        char name[32] = "";
        snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
        FILE *in = fopen(path, "r");
        if (in != NULL) {
            (void)!fgets(name, sizeof(name), in);
            fclose(in);
        }
        if (strcmp(name, "kiln-guest\n") == 0 && is_ours(atoi(entry->d_name))) {
            measure_put(series, read_kib(entry->d_name, "smaps_rollup", private_));
        }
    }
    if (proc != NULL) {
        closedir(proc);
    }
}

static void time_cells(uv_loop_t *loop, kiln_session *session, measure *series)
{
    for (int i = 0; i < CELLS; i++) {
        double since = measure_now();
        measure_cell(loop, session, "1+1");
        measure_add(series, since);
    }
}

int main(int argc, char **argv)
{
    int count = argc == 3 ? atoi(argv[2]) : 0;
    if (count < 2 * FEW || count > MOST) {
        measure_fail("usage", "memory KILN SESSIONS, 20 to 2000");
    }
    static const char *const set[] = {
        "backend interpreter.preload=numpy pandas matplotlib.pyplot", NULL};
    static kiln_session *all_sessions[MOST];
    uv_loop_t loop;
    uv_loop_init(&loop);
    kiln_engine *engine = measure_engine_open(&loop, argv[1], NULL, set);
    measure_put(&engine_kib, resident_kib());
    for (int i = 0; i < count; i++) {
        all_sessions[i] = measure_session_open(engine);
        double since = measure_now();
        measure_cell(&loop, all_sessions[i], "1+1");
        if (i > 0 && i < FEW) {
            measure_add(&open_few, since);
        } else if (i >= count - FEW) {
            measure_add(&open_all, since);
        }
        for (size_t c = 0; c < sizeof(usual) / sizeof(usual[0]); c++) {
            measure_cell(&loop, all_sessions[i], usual[c]);
        }
        if (i == FEW - 1) {
            time_cells(&loop, all_sessions[0], &cell_few);
        }
    }
    time_cells(&loop, all_sessions[0], &cell_all);
    measure_put(&engine_full_kib, resident_kib());
    read_workers(&private_kib);
    for (int i = 0; i < count; i++) {
        measure_cell(&loop, all_sessions[i], "import gc; gc.collect()");
    }
    read_workers(&collected_kib);
    for (int i = 0; i < count; i++) {
        kiln_session_close(all_sessions[i]);
    }
    for (int i = 0; i < 100; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(10000);
    }
    measure_put(&engine_after_kib, resident_kib());
    const measure *const all[] = {
        &private_kib, &collected_kib, &engine_kib, &engine_full_kib, &engine_after_kib,
        &cell_few,    &cell_all,      &open_few,   &open_all,        NULL};
    measure_print(all);
    kiln_engine_close(engine);
    return 0;
}
