/* layers.c - the layers' names, as [sandbox] require has them. */
#include "config/config.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <string.h>

static const char *const names[] = {
    "namespaces", "seccomp", "no_new_privs", "landlock", "cgroup", "uids", NULL};

int kiln_layer_from_name(const char *name, kiln_layer *layer, kiln_error *err)
{
    for (unsigned i = 0; names[i] != NULL; i++) {
        if (strcmp(name, names[i]) == 0) {
            *layer = (kiln_layer)(1U << i);
            return 0;
        }
    }
    const char *near = kiln_near_match(name, names);
    return kiln_error_set(err, -EINVAL, "unknown layer \"%s\"%s%s%s", name,
                          near != NULL ? ", did you mean \""
                                       : "; there are namespaces, seccomp, "
                                         "no_new_privs, landlock, cgroup, uids",
                          near != NULL ? near : "", near != NULL ? "\"?" : "");
}
