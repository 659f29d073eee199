#include "connection/credential.h"

#include "base/cleanup.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

int kiln_credential_ask(const char *url, kiln_buffer *question)
{
    const char *host = strstr(url, "://");
    size_t protocol = (size_t)(host - url);
    host += 3;
    size_t length = strcspn(host, "/");
    return kiln_buffer_printf(question, "protocol=%.*s\nhost=%.*s\npath=%s\n\n", (int)protocol,
                              url, (int)length, host,
                              host[length] != '\0' ? host + length + 1 : "");
}

/* The value of `key` in lines of "key=value"; new string, or NULL. */
static char *value_of(const kiln_buffer *answer, const char *key)
{
    size_t key_length = strlen(key);
    const char *end = answer->data + answer->length;
    for (const char *line = answer->data; line != NULL && line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((stop != NULL ? stop : end) - line);
        if (length > key_length && strncmp(line, key, key_length) == 0 &&
            line[key_length] == '=') {
            size_t rest = length - key_length - 1;
            if (rest > 0 && line[length - 1] == '\r') {
                rest--;
            }
            return strndup(line + key_length + 1, rest);
        }
        line = stop != NULL ? stop + 1 : NULL;
    }
    return NULL;
}

static void wipe(char *text)
{
    if (text != NULL) {
        sodium_memzero(text, strlen(text));
    }
    free(text);
}

static int encode(kiln_credential *credential, const char *user, kiln_error *err)
{
    static const char scheme[] = "Basic ";
    size_t length = strlen(user) + 1 + strlen(credential->password);
    char *pair = NULL;
    if (asprintf(&pair, "%s:%s", user, credential->password) < 0) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    size_t size = sodium_base64_ENCODED_LEN(length, sodium_base64_VARIANT_ORIGINAL);
    credential->authorization = malloc(sizeof(scheme) + size);
    if (credential->authorization != NULL) {
        memcpy(credential->authorization, scheme, sizeof(scheme));
        sodium_bin2base64(credential->authorization + sizeof(scheme) - 1, size,
                          (const unsigned char *)pair, length, sodium_base64_VARIANT_ORIGINAL);
    }
    wipe(pair);
    return credential->authorization != NULL ? 0 : kiln_error_set(err, ENOMEM, "out of memory");
}

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return true;
        }
    }
    return false;
}

int kiln_credential_read(kiln_credential *credential, kiln_program_end *end, kiln_error *err)
{
    char text[64];
    int rc = 0;
    if (end->exit_code != 0 || end->signal != 0 || end->timed_out || end->flooded) {
        return kiln_error_set(err, EACCES, "gave no answer: %s",
                              kiln_program_end_text(end, text, sizeof(text)));
    }
    char *user = value_of(end->output, "username");
    credential->password = value_of(end->output, "password");
    if (end->output->data != NULL) {
        sodium_memzero(end->output->data, end->output->length);
    }
    if (user == NULL || credential->password == NULL || credential->password[0] == '\0') {
        rc = kiln_error_set(err, EACCES,
                            "answered without username= and password=, see git-credential(1)");
    } else if (has_control(user) || has_control(credential->password) ||
               strchr(user, ':') != NULL) {
        rc = kiln_error_set(err, EACCES, "answered with characters that no user may have");
    } else {
        rc = encode(credential, user, err);
    }
    wipe(user);
    return rc;
}

bool kiln_credential_shows(const kiln_credential *credential, const char *text)
{
    return (credential->password != NULL && strstr(text, credential->password) != NULL) ||
           (credential->authorization != NULL &&
            strstr(text, credential->authorization + strlen("Basic ")) != NULL);
}

void kiln_credential_free(kiln_credential *credential)
{
    wipe(kiln_steal(credential->authorization));
    wipe(kiln_steal(credential->password));
}
