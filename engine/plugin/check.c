/* Extension kiln.check/1: what a plugin finds when it looks whether it can run code here. */
#include "plugin/backend-t.h"

#include <stdio.h>
#include <string.h>

enum { CHECK_MS = 30000 };

/* It may be told by whoever answers the plugin: one line, no control characters. */
static void one_line(char *line, size_t size, const char *text)
{
    snprintf(line, size, "%s", text != NULL ? text : "");
    for (char *at = line; *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at;
    }
}

static void found(const kiln_host *host, uint32_t finding, const char *what, const char *detail)
{
    const kiln_backend *backend = kiln_backend_of(host);
    char name[200], line[1000];
    one_line(name, sizeof(name), what);
    one_line(line, sizeof(line), detail);
    if (backend->check.running) {
        backend->check.found(backend->check.user,
                             finding < KILN_FINDING_FAULT ? (kiln_finding)finding
                                                          : KILN_FINDING_FAULT,
                             name, line);
    }
}

static void done(const kiln_host *host)
{
    kiln_backend_of(host)->check.running = false;
}

const kiln_checks *kiln_checks_extension(void)
{
    static const kiln_checks checks = {sizeof(checks), found, done};
    return &checks;
}

static void on_late(void *user)
{
    kiln_backend *backend = user;
    backend->check.late = NULL;
    found(&backend->host, KILN_FINDING_FAULT, "check", "it has not ended within 30 s");
    done(&backend->host);
}

void kiln_backend_check(kiln_backend *backend,
                        void (*on_found)(void *user, kiln_finding finding, const char *what,
                                         const char *detail),
                        void *user)
{
    const kiln_plugin *plugin = &backend->loaded->plugin;
    if (plugin->check == NULL) {
        return;
    }
    backend->check.found = on_found;
    backend->check.user = user;
    backend->check.running = true;
    backend->check.late = backend->host.timer(&backend->host, CHECK_MS, on_late, backend);
    int rc = plugin->check(backend->self);
    if (rc < 0) {
        found(&backend->host, KILN_FINDING_FAULT, "check", strerror(-rc));
        done(&backend->host);
    }
    while (backend->check.running) {
        uv_run(backend->all->spec.loop, UV_RUN_ONCE);
    }
    if (backend->check.late != NULL) {
        backend->host.cancel(&backend->host, backend->check.late);
        backend->check.late = NULL;
    }
}
