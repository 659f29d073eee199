/* demux_fuzz.c - the stream of attach and exec: any bytes, in any two pieces, come to the
 * same as in one, and no more comes out than went in. */
#include "../../plugins/container/demux.c" /* NOLINT(bugprone-suspicious-include) */

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_bytes(void *user, uint32_t stream, const char *data, size_t length)
{
    size_t *counts = user;
    counts[stream == KILN_STDERR] += length;
    for (size_t i = 0; i < length; i++) { /* all of it can be read */
        counts[2] += (unsigned char)data[i];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const char *bytes = (const char *)data + 1;
    size_t length = size - 1, cut = data[0] < length ? data[0] : length;
    size_t one[3] = {0}, two[3] = {0};
    const int go_on = 0;
    demux whole = {0}, pieces = {0};
    int rc = demux_push(&whole, bytes, length, on_bytes, one, &go_on);
    int other = demux_push(&pieces, bytes, cut, on_bytes, two, &go_on);
    other = other < 0 ? other
                      : demux_push(&pieces, bytes + cut, length - cut, on_bytes, two, &go_on);
    if (rc != other || memcmp(one, two, sizeof(one)) != 0 || one[0] + one[1] > length ||
        (rc == 0 && demux_cut(&whole) != demux_cut(&pieces))) {
        abort();
    }
    return 0;
}
