/* Promises SESSIONS, opens them and cannot close them. */
#include "bad.h"

static const kiln_plugin plugin = {BAD_FIELDS("no_session_close"),
                                   .capabilities = KILN_CAP_EXECUTE | KILN_CAP_SESSIONS,
                                   .session_open = bad_session_open, .execute = bad_execute};
KILN_PLUGIN(plugin)
