/* loader.h - from a file to a checked, copied kiln_plugin. Thread: loop. */
#ifndef KILN_PLUGIN_LOADER_H
#define KILN_PLUGIN_LOADER_H

#include "base/error.h"

#include <kiln/plugin.h>

typedef struct kiln_loaded_plugin {
    char *path;
    void *handle;         /* dlopen's; RTLD_NODELETE, so closing only drops a count */
    kiln_plugin plugin;   /* copied into a zeroed struct: what an older plugin lacks is 0 */
    kiln_worker worker;   /* likewise; plugin.worker points here or is NULL */
    char *worker_program; /* NAME.worker beside it, or NULL: the worker half is inside */
} kiln_loaded_plugin;

/* Reads the ABI version from the ELF note, without opening the object.
 * -ENOENT, -ENOEXEC (no ELF for this machine, or no note), -EINVAL (note that lies). */
int kiln_plugin_read_note(const char *path, unsigned *major, unsigned *minor, kiln_error *err);
/* Note, versions, dlopen (global: symbols of what it links become visible to later
 * objects, as libpython's extension modules need in a worker), entry, size, callbacks
 * that its capabilities require. Each refusal is one line with the file, both
 * versions or the missing callback, and the loader's own words. */
int kiln_plugin_load(const char *path, bool global, kiln_loaded_plugin **loaded,
                     kiln_error *err);
void kiln_plugin_unload(kiln_loaded_plugin *loaded);

#endif
