/* http_fuzz.c - answers of a container engine: any bytes, in any pieces, come to the same as in
 * one; an answer has an end, one, and what is collected or handed on is no more than came. */
#include "../../plugins/container/http.c" /* NOLINT(bugprone-suspicious-include) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { UPGRADE = 1, TAKES_DATA = 2, CANCELS = 4, CLOSES = 8, CANCEL_AFTER = 10 };

/* What the request's owner sees. */
typedef struct seen {
    http *request;
    unsigned flags;
    unsigned ends, streams;
    int status;
    size_t bytes, sum, body;
    char error[400];
} seen;

static void on_seen_data(void *user, const char *data, size_t length)
{
    seen *all = user;
    for (size_t i = 0; i < length; i++) { /* all of it can be read */
        all->sum = all->sum * 31 + (unsigned char)data[i];
    }
    all->bytes += length;
    if ((all->flags & CANCELS) && all->bytes >= CANCEL_AFTER) {
        http_cancel(all->request);
    }
}

static void on_seen_stream(void *user)
{
    ((seen *)user)->streams++;
}

static void on_seen_end(void *user, const http_answer *answer)
{
    seen *all = user;
    all->ends++;
    all->status = answer->status;
    all->body = answer->length;
    for (size_t i = 0; i < answer->length; i++) {
        all->sum = all->sum * 31 + (unsigned char)answer->body[i];
    }
    snprintf(all->error, sizeof(all->error), "%s", answer->error != NULL ? answer->error : "");
    if (answer->body[answer->length] != '\0' ||
        (answer->status == 0 && answer->error == NULL)) {
        abort();
    }
}

static void fake_unwatch(const kiln_host *host, kiln_watch *watch)
{
    (void)host, (void)watch;
}

/* As read_some and what calls it do, with the connection's bytes in pieces of `piece`. */
static void run(unsigned flags, const char *data, size_t length, size_t piece, seen *all)
{
    static const kiln_host host = {.size = sizeof(host), .unwatch = fake_unwatch};
    backend self = {.host = &host};
    http *request = calloc(1, sizeof(*request));
    *all = (seen){.request = request, .flags = flags};
    request->self = &self;
    request->request = (http_request){
        .upgrade = (flags & UPGRADE) != 0,
        .user = all,
        .on_data = flags & (TAKES_DATA | UPGRADE) ? on_seen_data : NULL,
        .on_stream = on_seen_stream,
        .on_end = on_seen_end,
    };
    request->place = &self.requests;
    self.requests = request;
    request->fd = -1;
    request->state = HTTP_OPEN;
    http_parser_init(&request->parser, HTTP_RESPONSE);
    request->parser.data = request;
    request->busy++;
    for (size_t at = 0; at < length && !request->cancelled; at += piece) {
        char *copy = malloc(piece); /* a reader past the end is caught */
        size_t count = length - at < piece ? length - at : piece;
        memcpy(copy, data + at, count);
        parse(request, copy, count);
        free(copy);
    }
    if (!request->cancelled && (flags & CLOSES)) {
        on_closed(request);
    }
    http_cancel(request);
    leave(request);
    all->request = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    unsigned flags = data[0];
    size_t piece = ((size_t)data[1] << 8 | data[2]) + 1, length = size - 3;
    const char *bytes = (const char *)data + 3;
    seen one, two;
    run(flags, bytes, length, length + 1, &one);
    run(flags, bytes, length, piece, &two);
    bool cancelled = (flags & CANCELS) && one.bytes >= CANCEL_AFTER;
    if (one.ends > 1 || one.streams > 1 || one.bytes + one.body > length ||
        (one.ends == 0 && (flags & CLOSES) && !cancelled) || (cancelled && one.ends > 0)) {
        abort();
    }
    /* One that is cancelled has had a piece more, or less. */
    if (!cancelled && memcmp(&one, &two, sizeof(one)) != 0) {
        abort();
    }
    return 0;
}
