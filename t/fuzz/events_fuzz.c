/* events_fuzz.c - what an engine tells of its containers: any bytes, in any pieces, come to the
 * same as in one, and only a container that is known has a fate, of the kinds that there are.
 */
#include "../../plugins/container/events.c" /* NOLINT(bugprone-suspicious-include) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FATES = 64 };

static const char known[] = "abab";

typedef struct seen {
    size_t count;
    int fates[FATES][2];
} seen;

static seen *told; /* of the run */

void box_fated(struct box *box, box_fate fate, int signal_number)
{
    if (strcmp(box->id, known) != 0 || signal_number < 0 || signal_number > 64 ||
        (fate == FATE_KILLED) != (signal_number > 0)) {
        abort();
    }
    told->fates[told->count % FATES][0] = (int)fate;
    told->fates[told->count % FATES][1] = signal_number;
    told->count++;
}

http *http_send(backend *self, const http_request *request)
{
    (void)self, (void)request;
    return NULL;
}

void http_cancel(http *request)
{
    (void)request;
}

bool http_encode(char *path, size_t size, const char *text)
{
    (void)path, (void)size, (void)text;
    return true;
}

static void run(const char *data, size_t length, size_t piece, seen *all)
{
    static struct events events;
    struct box box = {0}, nameless = {.next = &box};
    backend self = {.boxes = &nameless};
    snprintf(box.id, sizeof(box.id), "%s", known);
    events.self = &self;
    events.length = 0;
    *all = (seen){0};
    told = all;
    for (size_t at = 0; at < length; at += piece) {
        on_data(&events, data + at, length - at < piece ? length - at : piece);
    }
    events.self = NULL;
    told = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static seen one, two;
    if (size < 2) {
        return 0;
    }
    size_t piece = ((size_t)data[0] << 8 | data[1]) + 1;
    run((const char *)data + 2, size - 2, size, &one);
    run((const char *)data + 2, size - 2, piece, &two);
    if (memcmp(&one, &two, sizeof(one)) != 0) {
        abort();
    }
    return 0;
}
