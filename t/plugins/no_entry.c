/* A note and nothing to call. */
#include "bad.h"

KILN_EXPORT const int not_the_entry = 1;
BAD_NOTE(KILN_ABI_MAJOR, KILN_ABI_MINOR);
