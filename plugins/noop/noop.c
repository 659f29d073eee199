/* noop - validates everything that a real run would, runs nothing, returns the plan.
 *
 * By the time this is called the engine has checked the input, the limits, the files
 * and the policies; what is left to say is what would have been run. */
#include <kiln/plugin.h>

#include <stdio.h>
#include <string.h>

static const kiln_host *host_of(void *self)
{
    return self;
}

static int noop_init(const kiln_host *host, void **self, const char **error)
{
    (void)error;
    *self = (void *)(uintptr_t)host;
    return 0;
}

/* Names come from outside; JSON wants them escaped. */
static void append_escaped(char *out, size_t size, const char *text)
{
    size_t used = strlen(out);
    for (; *text != '\0' && used + 8 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\' || c < 0x20) {
            used += (size_t)snprintf(out + used, size - used, "\\u%04x", c);
        } else {
            out[used++] = (char)c;
        }
    }
    out[used] = '\0';
}

static int decide(const kiln_host *host, kiln_ticket ticket, const char *action,
                  const char *detail)
{
    char escaped[1900] = "", json[2048];
    append_escaped(escaped, sizeof(escaped), detail);
    snprintf(json, sizeof(json), "{\"action\":\"%s\",\"detail\":\"%s\"}", action, escaped);
    const kiln_event event = {.size = sizeof(event),
                              .type = KILN_EVENT_DECISION,
                              .data = json,
                              .length = strlen(json)};
    return host->emit(host, ticket, &event);
}

static int noop_execute(void *self, kiln_ticket ticket, kiln_session *session, void *state,
                        const kiln_input *input)
{
    const kiln_host *host = host_of(self);
    char text[1200];
    (void)session, (void)state;
    snprintf(text, sizeof(text), "%zu bytes of %s, execution %llu of its session",
             input->code_length, input->language, (unsigned long long)input->execution_count);
    decide(host, ticket, "plan", text);
    for (const char *const *name = input->input_files; *name != NULL; name++) {
        decide(host, ticket, "input_file", *name);
    }
    const kiln_limits *limits = &input->limits;
    snprintf(text, sizeof(text),
             "timeout %llu ms, memory %llu bytes, processes %llu, output %llu bytes, disk %llu "
             "bytes",
             (unsigned long long)limits->timeout_ms, (unsigned long long)limits->memory,
             (unsigned long long)limits->processes, (unsigned long long)limits->output,
             (unsigned long long)limits->disk);
    decide(host, ticket, "limits", text);
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    outcome.status = KILN_STATUS_SKIPPED;
    return host->complete(host, ticket, &outcome);
}

static const char *const languages[] = {"*", NULL};

static const kiln_plugin noop = {
    .size = sizeof(kiln_plugin),
    .abi_major = KILN_ABI_MAJOR,
    .abi_minor = KILN_ABI_MINOR,
    .capabilities = KILN_CAP_EXECUTE | KILN_CAP_PLAN,
    .name = "noop",
    .version = "1.0",
    .summary = "checks the input and the policies, runs nothing, returns the plan",
    .languages = languages,
    .init = noop_init,
    .execute = noop_execute,
};

KILN_PLUGIN(noop)
