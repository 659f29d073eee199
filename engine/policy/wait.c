#include "policy/native.h"

#include "base/log.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* Tickets: slot and generation, packed into the pointer that the host hands back. The
 * table outlives every chain, because a stale ticket must be refused even then. */
typedef struct ticket_slot {
    kiln_policy_run *run; /* NULL: free */
    size_t index;
    uint32_t generation;
    uint32_t next_free; /* slot + 1 */
} ticket_slot;

static struct {
    ticket_slot *slots;
    uint32_t count;
    uint32_t first_free; /* slot + 1; 0: none */
    unsigned long stale;
} tickets;

static void *ticket_acquire(kiln_policy_run *run, size_t index)
{
    if (tickets.first_free == 0) {
        uint32_t count = tickets.count > 0 ? tickets.count * 2 : 64;
        ticket_slot *slots = reallocarray(tickets.slots, count, sizeof(*slots));
        if (slots == NULL) {
            return NULL;
        }
        for (uint32_t i = tickets.count; i < count; i++) {
            slots[i] = (ticket_slot){NULL, 0, 1, i + 1 < count ? i + 2 : 0};
        }
        tickets.first_free = tickets.count + 1;
        tickets.slots = slots;
        tickets.count = count;
    }
    uint32_t at = tickets.first_free - 1;
    ticket_slot *slot = &tickets.slots[at];
    tickets.first_free = slot->next_free;
    slot->run = run;
    slot->index = index;
    slot->generation++;
    return (void *)(((uintptr_t)slot->generation << 32) | at);
}

/* NULL: stale. */
static ticket_slot *ticket_find(void *ticket)
{
    uint32_t at = (uint32_t)(uintptr_t)ticket;
    uint32_t generation = (uint32_t)((uintptr_t)ticket >> 32);
    ticket_slot *slot = at < tickets.count ? &tickets.slots[at] : NULL;
    bool live = slot != NULL && slot->run != NULL && slot->generation == generation;
    return live ? slot : NULL;
}

/* The wait that a ticket stands for, which is given back; NULL: stale. */
static kiln_wait *ticket_release(void *ticket, kiln_policy_run **run)
{
    uint32_t at = (uint32_t)(uintptr_t)ticket;
    ticket_slot *slot = ticket_find(ticket);
    if (slot == NULL) {
        tickets.stale++;
        kiln_log(KILN_LOG_ERROR, "policy", "stale completion dropped (%lu so far)",
                 tickets.stale);
        return NULL;
    }
    *run = slot->run;
    kiln_wait *wait = &slot->run->waits[slot->index];
    slot->run = NULL;
    slot->generation++;
    slot->next_free = tickets.first_free;
    tickets.first_free = at + 1;
    wait->ticket = NULL;
    return wait;
}

unsigned long kiln_wait_stale_count(void)
{
    return tickets.stale;
}

static void wait_free(kiln_policy_run *run, kiln_wait *wait)
{
    kiln_policy_forget_functions(run, wait);
    kiln_buffer_free(&wait->values);
    kiln_request_free(wait->request);
    free(wait->backend);
    free(wait->language);
    free(wait->code);
    if (wait->result != NULL) {
        kiln_result_unref(wait->result);
    }
    json_decref(wait->json);
    free(wait->error);
    *wait = (kiln_wait){0};
}

static void wait_cancel(kiln_policy_run *run, kiln_wait *wait)
{
    if (!wait->started || wait->ended) {
        return;
    }
    kiln_policies *policies = run->chain->policies;
    kiln_policy_run *same;
    if (wait->type == KILN_WAIT_SLEEP) {
        policies->clock.cancel(policies->clock.user, wait->handle);
    } else {
        policies->host.cancel(policies->host.core, wait->handle);
    }
    ticket_release(wait->ticket, &same);
    wait->ended = true;
}

void kiln_wait_clear(kiln_policy_run *run)
{
    for (size_t i = 0; i < run->wait_count; i++) {
        wait_cancel(run, &run->waits[i]);
        wait_free(run, &run->waits[i]);
    }
    run->wait_count = 0;
}

bool kiln_wait_cancel_idle(kiln_policy_run *run)
{
    bool over = true;
    for (size_t i = 0; i < run->wait_count; i++) {
        kiln_wait *wait = &run->waits[i];
        if (wait->type == KILN_WAIT_RUN) {
            over = over && (wait->ended || !wait->started);
            continue;
        }
        wait_cancel(run, wait);
        if (wait->json == NULL && wait->values.length == 0 && wait->error == NULL) {
            wait->error = strdup("the execution was cancelled");
        }
    }
    return over;
}

kiln_wait *kiln_wait_prepare(lua_State *L, kiln_policy_run *run, size_t count,
                             kiln_wait_mode mode)
{
    if (++run->awaits > run->chain->budget.awaits) {
        kiln_error err = KILN_ERROR_INIT;
        kiln_error_set(&err, -E2BIG, "more than %u awaits in one execution",
                       run->chain->budget.awaits);
        kiln_api_raise(L, &err);
    }
    kiln_wait_clear(run);
    if (count > run->wait_capacity) {
        kiln_wait *waits = calloc(count, sizeof(*waits));
        if (waits == NULL) {
            luaL_error(L, "not enough memory");
        }
        free(run->waits);
        run->waits = waits;
        run->wait_capacity = count;
    }
    run->wait_count = count;
    run->mode = mode;
    return run->waits;
}

bool kiln_wait_over(const kiln_policy_run *run)
{
    size_t ended = 0;
    for (size_t i = 0; i < run->wait_count; i++) {
        ended += run->waits[i].ended;
    }
    return run->mode == KILN_WAIT_RACE ? ended > 0 : ended == run->wait_count;
}

static void end_wait(kiln_policy_run *run, kiln_wait *wait)
{
    wait->ended = true;
    if (!kiln_wait_over(run)) {
        return;
    }
    if (run->mode == KILN_WAIT_RACE) {
        for (size_t i = 0; i < run->wait_count; i++) {
            wait_cancel(run, &run->waits[i]);
        }
    }
    if (!run->starting) {
        kiln_policy_run_drive(run);
    }
}

static void on_run(void *ticket, kiln_result *result)
{
    kiln_policy_run *run;
    kiln_wait *wait = ticket_release(ticket, &run);
    if (wait != NULL) {
        wait->result = kiln_result_ref(result);
        if (run->context.trace != NULL) {
            kiln_policy_run_note(run, "answer",
                                 json_pack("{s:s, s:s?}", "status",
                                           kiln_status_name(result->status), "backend",
                                           result->backend));
        }
        end_wait(run, wait);
    }
}

static void on_json(void *ticket, json_t *json, const char *error)
{
    kiln_policy_run *run;
    kiln_wait *wait = ticket_release(ticket, &run);
    if (wait != NULL) {
        wait->json = json_incref(json);
        wait->error = json == NULL ? strdup(error != NULL ? error : "no answer") : NULL;
        end_wait(run, wait);
    }
}

static void on_native(void *ticket, const kiln_native_value *results,
                      const kiln_native_failure *failure)
{
    kiln_policy_run *run;
    kiln_wait *wait = ticket_release(ticket, &run);
    if (wait == NULL) {
        return;
    }
    int rc = results != NULL ? kiln_native_value_append(&wait->values, results) : 0;
    if (results == NULL && asprintf(&wait->error, "%s: %s", failure->name, failure->text) < 0) {
        wait->error = NULL;
        rc = -ENOMEM;
    }
    if (rc < 0) {
        wait->error = strdup("NativeError: not enough memory");
    }
    end_wait(run, wait);
}

static int on_callback(void *ticket, uint64_t which, const kiln_native_value *given,
                       kiln_native_value *returned, kiln_error *err)
{
    const ticket_slot *slot = ticket_find(ticket);
    if (slot == NULL) {
        return kiln_error_set(err, ESTALE, "the policy has gone on");
    }
    return kiln_policy_call_back(slot->run, &slot->run->waits[slot->index], which, given,
                                 returned, err);
}

static const kiln_native_callbacks native_callbacks = {on_native, on_callback};

static void on_sleep(void *ticket)
{
    kiln_policy_run *run;
    kiln_wait *wait = ticket_release(ticket, &run);
    if (wait != NULL) {
        end_wait(run, wait);
    }
}

static void refuse_wait(kiln_policy_run *run, kiln_wait *wait, kiln_status status,
                        const char *name, const char *why)
{
    if (wait->type == KILN_WAIT_RUN) {
        wait->result = kiln_policy_run_refuse(run, status, name, why, NULL);
    } else if (wait->type != KILN_WAIT_SLEEP) {
        wait->error = strdup(why);
    }
    wait->ended = true;
}

static void note_wait(kiln_policy_run *run, const kiln_wait *wait)
{
    if (run->context.trace == NULL) {
        return;
    }
    json_t *detail = NULL;
    const char *event = "imports";
    if (wait->type == KILN_WAIT_RUN) {
        event = "run";
        detail =
            json_pack("{s:s, s:s, s:I}", "backend",
                      wait->backend != NULL            ? wait->backend
                      : wait->request->backend != NULL ? wait->request->backend
                                                       : run->chain->policies->default_backend,
                      "language", wait->request->language, "code_bytes",
                      (json_int_t)wait->request->code_length);
        json_object_set_new(detail, "limits", kiln_limits_to_json(&wait->request->limits));
        if (wait->request->limits.timeout_ms > 0) {
            json_object_set_new(detail, "timeout_ms",
                                json_integer((json_int_t)wait->request->limits.timeout_ms));
        }
    } else if (wait->type == KILN_WAIT_ANALYZE) {
        event = "analyze";
        detail = json_pack("{s:s}", "language", wait->language);
    } else if (wait->type == KILN_WAIT_NATIVE) {
        event = "native";
        detail = json_pack("{s:s}", "function", wait->language);
    } else if (wait->type == KILN_WAIT_SLEEP) {
        event = "sleep";
        detail = json_pack("{s:I}", "milliseconds", (json_int_t)wait->milliseconds);
    }
    kiln_policy_run_note(run, event, detail);
}

static void begin_wait(kiln_policy_run *run, size_t index)
{
    kiln_wait *wait = &run->waits[index];
    kiln_policies *policies = run->chain->policies;
    const kiln_policy_host *host = &policies->host;
    void *execution = run->context.execution;
    if (run->cancelled) {
        refuse_wait(run, wait, KILN_STATUS_INTERRUPTED, "Interrupted",
                    "the execution was cancelled");
        return;
    }
    wait->ticket = ticket_acquire(run, index);
    if (wait->ticket == NULL) {
        refuse_wait(run, wait, KILN_STATUS_UNAVAILABLE, "OutOfMemory", "out of memory");
        return;
    }
    wait->started = true;
    note_wait(run, wait);
    switch (wait->type) {
    case KILN_WAIT_RUN:
        host->run(host->core, execution, wait->request, wait->backend, wait->live, on_run,
                  wait->ticket, &wait->handle);
        break;
    case KILN_WAIT_ANALYZE:
        host->analyze(host->core, execution, wait->language, wait->code, wait->code_length,
                      on_json, wait->ticket, &wait->handle);
        break;
    case KILN_WAIT_IMPORTS:
        host->notebook_imports(host->core, execution, on_json, wait->ticket, &wait->handle);
        break;
    case KILN_WAIT_NATIVE:
        kiln_policy_begin_native(run, wait, &native_callbacks);
        break;
    case KILN_WAIT_SLEEP:
        if (run->context.trace != NULL) { /* it is told, not waited for */
            on_sleep(wait->ticket);
        } else if (policies->clock.sleep(policies->clock.user, wait->milliseconds, on_sleep,
                                         wait->ticket, &wait->handle) < 0) {
            on_sleep(wait->ticket);
        }
        break;
    }
}

bool kiln_wait_begin(kiln_policy_run *run)
{
    run->starting = true;
    for (size_t i = 0; i < run->wait_count; i++) {
        if (run->mode == KILN_WAIT_RACE && kiln_wait_over(run)) {
            break;
        }
        begin_wait(run, i);
    }
    run->starting = false;
    return kiln_wait_over(run);
}

/* ---------------------------------------------------------------- the real clock */

typedef struct sleeper {
    uv_timer_t timer;
    void (*done)(void *arg);
    void *arg;
} sleeper;

static void free_sleeper(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_timer(uv_timer_t *timer)
{
    sleeper *sleeping = timer->data;
    uv_close((uv_handle_t *)timer, free_sleeper);
    sleeping->done(sleeping->arg);
}

static int sleep_uv(void *loop, uint64_t milliseconds, void (*done)(void *arg), void *arg,
                    void **handle)
{
    sleeper *sleeping = calloc(1, sizeof(*sleeping));
    if (sleeping == NULL) {
        return -ENOMEM;
    }
    sleeping->done = done;
    sleeping->arg = arg;
    uv_timer_init(loop, &sleeping->timer);
    sleeping->timer.data = sleeping;
    uv_timer_start(&sleeping->timer, on_timer, milliseconds, 0);
    *handle = sleeping;
    return 0;
}

static void cancel_uv(void *loop, void *handle)
{
    (void)loop;
    sleeper *sleeping = handle;
    uv_timer_stop(&sleeping->timer);
    uv_close((uv_handle_t *)&sleeping->timer, free_sleeper);
}

static uint64_t now_uv(void *loop)
{
    (void)loop;
    return uv_hrtime() / 1000000; /* the loop's own stands still while a script runs */
}

kiln_policy_clock kiln_policy_clock_uv(uv_loop_t *loop)
{
    return (kiln_policy_clock){loop, now_uv, sleep_uv, cancel_uv};
}
