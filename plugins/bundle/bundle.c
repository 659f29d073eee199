/* bundle.c - the engine half: archives and pictures, read and written in a confined worker.
 *
 * Decoders of files that code has made do not run in the engine. The engine uses this
 * backend itself (engine/archive/, engine/eval/), by sessions like any other's; the work
 * directory holds what goes in and what comes out. Its "code" is one of
 *
 *   pack              files below in/  ->  archive.tar.gz, the same bytes for the same files
 *   unpack            archive.tar.gz   ->  files below out/
 *   pixels N N ...    are the PNG pictures N.expected and N.actual the same, point by point?
 *
 * and it answers with one JSON object on standard output. */
#include <kiln/plugin.h>

static const char *const languages[] = {"bundle", NULL};

static const kiln_plugin plugin = {
    .size = sizeof(kiln_plugin),
    .abi_major = KILN_ABI_MAJOR,
    .abi_minor = KILN_ABI_MINOR,
    .capabilities = KILN_CAP_SESSIONS | KILN_CAP_INTERRUPT | KILN_CAP_WORKER,
    .name = "bundle",
    .version = "1.0",
    .summary = "archives and pictures, for kiln's own use",
    .languages = languages,
};

KILN_PLUGIN(plugin)
