/* A note whose description is half as long as a version. */
#include "bad.h"

BAD_CONSTRUCTOR
static const kiln_plugin plugin = {BAD_FIELDS("short_note"), .capabilities = KILN_CAP_EXECUTE,
                                   .execute = bad_execute};
__attribute__((section(".note.kiln"), used, aligned(4))) static const kiln_note note = {
    sizeof(KILN_NOTE_NAME), sizeof(uint32_t), KILN_NOTE_TYPE,
    KILN_NOTE_NAME,         KILN_ABI_MAJOR,   0};
BAD_ENTRY(&plugin)
