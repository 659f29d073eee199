/* An entry that returns nothing. */
#include "bad.h"

BAD_NOTE(KILN_ABI_MAJOR, KILN_ABI_MINOR);
BAD_ENTRY(NULL)
