#include "sandbox/cgroup_detect.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *controller;
    kiln_cgroup_role role;
} controllers[] = {
    {"memory", KILN_CGROUP_MEMORY},
    {"pids", KILN_CGROUP_PIDS},
    {"cpuacct", KILN_CGROUP_CPU_USAGE},
    {"cpu", KILN_CGROUP_CPU_QUOTA},
};
enum { CONTROLLERS = sizeof(controllers) / sizeof(controllers[0]) };

typedef struct hierarchy {
    char mount[512];
    char root[512];    /* what of the hierarchy is mounted there */
    char options[256]; /* super block's: v1 names its controllers */
    bool unified;
} hierarchy;

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length) {
        if ((at == list || at[-1] == ',') && (at[length] == '\0' || at[length] == ',')) {
            return true;
        }
    }
    return false;
}

/* "ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAG ...] - TYPE SOURCE SUPEROPTIONS" */
static bool parse_mount(const char *line, hierarchy *found)
{
    char type[32];
    int before = 0;
    if (sscanf(line, "%*d %*d %*s %511s %511s %*s%n", found->root, found->mount, &before) !=
            2 ||
        before == 0) {
        return false;
    }
    const char *dash = strstr(line + before, " - ");
    found->options[0] = '\0';
    if (dash == NULL || sscanf(dash + 3, "%31s %*s %255s", type, found->options) < 1) {
        return false;
    }
    found->unified = strcmp(type, "cgroup2") == 0;
    /* An octal escape means a blank or a newline in the path: nobody's cgroup mount. */
    return (found->unified || strcmp(type, "cgroup") == 0) &&
           strchr(found->mount, '\\') == NULL;
}

/* The own group of a hierarchy: "ID:CONTROLLERS:PATH", v2 "0::PATH". */
static bool own_path(const char *cgroup, const char *controller, char path[512])
{
    for (const char *line = cgroup; line != NULL && *line != '\0';) {
        char list[256] = "";
        const char *colon = strchr(line, ':');
        const char *second = colon != NULL ? strchr(colon + 1, ':') : NULL;
        if (second == NULL) {
            return false;
        }
        size_t length = (size_t)(second - colon - 1);
        if (length < sizeof(list)) {
            memcpy(list, colon + 1, length);
            list[length] = '\0';
            if (controller == NULL ? length == 0 : has_word(list, controller)) {
                return sscanf(second + 1, "%511[^\n]", path) == 1;
            }
        }
        line = strchr(second, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return false;
}

/* The folder of `own` below a mount that shows the hierarchy from `root` on. */
static bool place_path(const hierarchy *at, const char *own, char path[1024])
{
    size_t length = strcmp(at->root, "/") == 0 ? 0 : strlen(at->root);
    if (strstr(own, "..") != NULL || strncmp(own, at->root, length) != 0 ||
        (length > 0 && own[length] != '\0' && own[length] != '/')) {
        return false; /* the own group is not to be seen from here */
    }
    const char *rest = own + length;
    snprintf(path, 1024, "%s%s", at->mount, strcmp(rest, "/") == 0 ? "" : rest);
    return true;
}

static void add_place(kiln_cgroup_layout *layout, const char *path, unsigned role, bool unified)
{
    for (int i = 0; i < layout->count; i++) {
        if (strcmp(layout->places[i].path, path) == 0) {
            layout->places[i].roles |= role;
            return;
        }
    }
    if (layout->count < KILN_CGROUP_PLACES_MAX) {
        kiln_cgroup_place *place = &layout->places[layout->count++];
        snprintf(place->path, sizeof(place->path), "%s", path);
        place->roles = role;
        place->unified = unified;
    }
}

static unsigned roles_of(const kiln_cgroup_layout *layout)
{
    unsigned roles = 0;
    for (int i = 0; i < layout->count; i++) {
        roles |= layout->places[i].roles;
    }
    return roles;
}

int kiln_cgroup_parse(const char *mountinfo, const char *cgroup, kiln_cgroup_layout *layout,
                      kiln_error *err)
{
    *layout = (kiln_cgroup_layout){.count = 0};
    char unified[1024] = "";
    auto_free char *text = strdup(mountinfo);
    if (text == NULL) {
        return kiln_error_set(err, -ENOMEM, "cgroup: out of memory");
    }
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        hierarchy at;
        char own[512];
        char path[1024];
        if (!parse_mount(line, &at)) {
            continue;
        }
        if (at.unified) {
            if (own_path(cgroup, NULL, own) && place_path(&at, own, path)) {
                snprintf(unified, sizeof(unified), "%s", path);
            }
            continue;
        }
        for (int i = 0; i < CONTROLLERS; i++) {
            unsigned role = 1U << controllers[i].role;
            if (has_word(at.options, controllers[i].controller) &&
                (roles_of(layout) & role) == 0 &&
                own_path(cgroup, controllers[i].controller, own) &&
                place_path(&at, own, path)) {
                add_place(layout, path, role, false);
            }
        }
    }
    /* A controller is in one hierarchy only: v2 has what v1 does not. Where v1 has the
     * memory, v2 is the hybrid's empty tree. */
    if (unified[0] != '\0' && (roles_of(layout) & (1U << KILN_CGROUP_MEMORY)) == 0) {
        unsigned missing = ((1U << KILN_CGROUP_ROLES) - 1) & ~roles_of(layout);
        add_place(layout, unified, missing, true);
    }
    return layout->count > 0
               ? 0
               : kiln_error_set(err, -ENOENT,
                                "cgroup: no hierarchy with memory or pids is mounted");
}
