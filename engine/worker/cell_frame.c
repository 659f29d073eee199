#include "worker/cell_frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The front of an EXECUTE. An absent string has the length NONE and no bytes. */
enum {
    HEAD = 36,
    AT_ID = 0,
    AT_COUNT = 4,
    AT_CODE = 12,
    AT_CELL_ID = 16,
    AT_STDIN = 20,
    AT_ARGS = 24,
    AT_ENV = 28,
    AT_LINGER = 32,
};
#define NONE UINT32_MAX

static const uint64_t FIGURE_LIMIT = UINT64_C(1) << 60;

static void put32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

static void put64(unsigned char *at, uint64_t value)
{
    put32(at, (uint32_t)value);
    put32(at + 4, (uint32_t)(value >> 32));
}

static uint32_t get32(const char *from)
{
    const unsigned char *at = (const unsigned char *)from;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
           (uint32_t)at[3] << 24;
}

static uint64_t get64(const char *from)
{
    return get32(from) | (uint64_t)get32(from + 4) << 32;
}

/* ---- EXECUTE */

static size_t measure(const char *const *strings, size_t *count)
{
    size_t bytes = 0;
    for (*count = 0; strings != NULL && strings[*count] != NULL; ++*count) {
        bytes += strlen(strings[*count]) + 1;
    }
    return bytes;
}

/* Room was reserved: nothing here can fail. */
static void append_text(kiln_buffer *out, const char *text, size_t length)
{
    kiln_buffer_append(out, text, length);
    kiln_buffer_append(out, "", 1);
}

static void append_strings(kiln_buffer *out, const char *const *strings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        kiln_buffer_append(out, strings[i], strlen(strings[i]) + 1);
    }
}

int kiln_cell_request_append(kiln_buffer *out, uint32_t id, uint32_t linger_us,
                             const kiln_input *input)
{
    size_t args;
    size_t env;
    size_t cell_id = input->cell_id != NULL ? strlen(input->cell_id) + 1 : 0;
    size_t stdin_bytes = input->stdin_data != NULL ? input->stdin_length + 1 : 0;
    size_t length =
        HEAD + measure(input->args, &args) + measure(input->env, &env) + cell_id + stdin_bytes;
    if (args > KILN_CELL_STRINGS_MAX || env > KILN_CELL_STRINGS_MAX ||
        input->code_length >= KILN_FRAME_TO_WORKER_MAX ||
        stdin_bytes > KILN_FRAME_TO_WORKER_MAX ||
        length + input->code_length + 1 > KILN_FRAME_TO_WORKER_MAX) {
        return -E2BIG;
    }
    length += input->code_length + 1;
    if (kiln_buffer_reserve(out, KILN_FRAME_HEADER + length) < 0) {
        return -ENOMEM;
    }
    unsigned char head[KILN_FRAME_HEADER + HEAD];
    unsigned char *at = head + KILN_FRAME_HEADER;
    kiln_frame_header(head, KILN_FRAME_EXECUTE, (uint32_t)length);
    put32(at + AT_ID, id);
    put64(at + AT_COUNT, input->execution_count);
    put32(at + AT_CODE, (uint32_t)input->code_length);
    put32(at + AT_CELL_ID, cell_id > 0 ? (uint32_t)cell_id - 1 : NONE);
    put32(at + AT_STDIN, stdin_bytes > 0 ? (uint32_t)input->stdin_length : NONE);
    put32(at + AT_ARGS, (uint32_t)args);
    put32(at + AT_ENV, (uint32_t)env);
    put32(at + AT_LINGER, linger_us);
    kiln_buffer_append(out, head, sizeof(head));
    append_text(out, input->code, input->code_length);
    if (cell_id > 0) {
        append_text(out, input->cell_id, cell_id - 1);
    }
    if (stdin_bytes > 0) {
        append_text(out, input->stdin_data, input->stdin_length);
    }
    append_strings(out, input->args, args);
    append_strings(out, input->env, env);
    return 0;
}

/* The next text of `length` bytes and a NUL, or NULL when it is not there. */
static const char *take_text(const char **at, const char *end, uint32_t length)
{
    const char *text = *at;
    if ((size_t)(end - text) <= length || text[length] != '\0') {
        return NULL;
    }
    *at = text + length + 1;
    return text;
}

static int take_strings(const char **at, const char *end, uint32_t count, const char **strings)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *nul = memchr(*at, '\0', (size_t)(end - *at));
        if (nul == NULL) {
            return -EPROTO;
        }
        strings[i] = *at;
        *at = nul + 1;
    }
    strings[count] = NULL;
    return 0;
}

static int take_texts(const char *payload, const char **at, const char *end, kiln_cell *cell)
{
    uint32_t cell_id = get32(payload + AT_CELL_ID);
    uint32_t stdin_length = get32(payload + AT_STDIN);
    cell->code_length = get32(payload + AT_CODE);
    cell->code = take_text(at, end, (uint32_t)cell->code_length);
    if (cell->code == NULL) {
        return -EPROTO;
    }
    if (cell_id != NONE && (cell->cell_id = take_text(at, end, cell_id)) == NULL) {
        return -EPROTO;
    }
    if (stdin_length != NONE) {
        cell->stdin_length = stdin_length;
        cell->stdin_data = take_text(at, end, stdin_length);
        if (cell->stdin_data == NULL) {
            return -EPROTO;
        }
    }
    return 0;
}

int kiln_cell_request_decode(const char *payload, size_t length, kiln_cell_request *request)
{
    const char *at = payload + HEAD;
    const char *end = payload + length;
    *request = (kiln_cell_request){.cell.size = sizeof(request->cell)};
    if (length < HEAD) {
        return -EPROTO;
    }
    uint32_t args = get32(payload + AT_ARGS);
    uint32_t env = get32(payload + AT_ENV);
    if (args > KILN_CELL_STRINGS_MAX || env > KILN_CELL_STRINGS_MAX ||
        take_texts(payload, &at, end, &request->cell) < 0) {
        return -EPROTO;
    }
    request->id = get32(payload + AT_ID);
    request->linger_us = get32(payload + AT_LINGER);
    request->cell.execution_count = get64(payload + AT_COUNT);
    request->strings = calloc((size_t)args + env + 2, sizeof(*request->strings));
    if (request->strings == NULL) {
        return -ENOMEM;
    }
    request->cell.args = request->strings;
    request->cell.env = request->strings + args + 1;
    if (take_strings(&at, end, args, request->strings) < 0 ||
        take_strings(&at, end, env, request->strings + args + 1) < 0 || at != end) {
        kiln_cell_request_free(request);
        return -EPROTO;
    }
    return 0;
}

void kiln_cell_request_free(kiln_cell_request *request)
{
    free(request->strings);
    request->strings = NULL;
}

/* ---- REHEARSE */

enum { REHEARSAL = 12 };

int kiln_rehearsal_append(kiln_buffer *out, const kiln_rehearsal *rehearsal)
{
    unsigned char payload[REHEARSAL];
    put32(payload, rehearsal->id);
    put32(payload + 4, rehearsal->turn);
    put32(payload + 8, rehearsal->last);
    return kiln_frame_append(out, KILN_FRAME_REHEARSE, payload, sizeof(payload));
}

int kiln_rehearsal_decode(const char *payload, size_t length, kiln_rehearsal *rehearsal)
{
    if (length != REHEARSAL || get32(payload + 8) > 1) {
        return -EPROTO;
    }
    *rehearsal = (kiln_rehearsal){
        .id = get32(payload), .turn = get32(payload + 4), .last = get32(payload + 8) == 1};
    return 0;
}

/* ---- DONE */

enum { DONE_OK = 0, DONE_ERROR = 1, DONE_INTERRUPTED = 2 };

void kiln_cell_done_encode(const kiln_cell_done *done, unsigned char bytes[24])
{
    const kiln_verdict *verdict = &done->verdict;
    put32(bytes, done->id);
    bytes[4] = verdict->status == KILN_STATUS_OK            ? DONE_OK
               : verdict->status == KILN_STATUS_INTERRUPTED ? DONE_INTERRUPTED
                                                            : DONE_ERROR;
    bytes[5] = verdict->has_exit_code;
    bytes[6] = verdict->has_exit_code ? (unsigned char)verdict->exit_code : 0;
    bytes[7] = done->unread;
    put64(bytes + 8, done->cpu_us);
    put64(bytes + 16, done->max_rss_bytes);
}

int kiln_cell_done_decode(const char *payload, size_t length, kiln_cell_done *done)
{
    static const kiln_status statuses[] = {
        [DONE_OK] = KILN_STATUS_OK,
        [DONE_ERROR] = KILN_STATUS_ERROR,
        [DONE_INTERRUPTED] = KILN_STATUS_INTERRUPTED,
    };
    if (length != KILN_CELL_DONE_BYTES) {
        return -EPROTO;
    }
    const unsigned char *bytes = (const unsigned char *)payload;
    uint64_t cpu_us = get64(payload + 8);
    uint64_t max_rss_bytes = get64(payload + 16);
    if (bytes[4] > DONE_INTERRUPTED || bytes[5] > 1 || (bytes[5] == 0 && bytes[6] != 0) ||
        bytes[7] > 1 || cpu_us >= FIGURE_LIMIT || max_rss_bytes >= FIGURE_LIMIT) {
        return -EPROTO;
    }
    *done = (kiln_cell_done){
        .id = get32(payload),
        .verdict = {.size = sizeof(done->verdict),
                    .status = statuses[bytes[4]],
                    .has_exit_code = bytes[5] != 0,
                    .exit_code = bytes[6]},
        .cpu_us = cpu_us,
        .max_rss_bytes = max_rss_bytes,
        .unread = bytes[7] == 1,
    };
    return 0;
}
