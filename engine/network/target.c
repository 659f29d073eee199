#include "network/target.h"

#include "network/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    kiln_target target;
    bool below; /* *.host: what ends in .host */
} entry;

struct kiln_allow_list {
    size_t count;
    entry entries[];
};

/* ASCII only: what is compared must not depend on a locale. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_name_character(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
}

static int set_literal(kiln_target *target, int family, const char *text, kiln_error *err)
{
    struct in_addr four;
    struct in6_addr six;
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    if (family == AF_INET) {
        if (inet_pton(AF_INET, text, &four) != 1) {
            return kiln_error_set(err, EINVAL,
                                  "\"%s\" is neither a name nor an IPv4 address in "
                                  "four decimal numbers",
                                  text);
        }
        struct sockaddr_in *out = (struct sockaddr_in *)&address;
        out->sin_addr = four;
        out->sin_port = htons(target->port);
    } else {
        if (inet_pton(AF_INET6, text, &six) != 1) {
            return kiln_error_set(err, EINVAL, "\"[%s]\" is not an IPv6 address", text);
        }
        struct sockaddr_in6 *out = (struct sockaddr_in6 *)&address;
        out->sin6_addr = six;
        out->sin6_port = htons(target->port);
    }
    target->literal = true;
    target->address = address;
    kiln_address_text((const struct sockaddr *)&address, target->host);
    return 0;
}

static int check_name(const char *name, kiln_error *err)
{
    size_t label = 0;
    for (const char *at = name;; at++) {
        if (*at == '.' || *at == '\0') {
            if (label == 0 || label > 63) {
                return kiln_error_set(err, EINVAL, "\"%s\" is not a host name", name);
            }
            label = 0;
            if (*at == '\0') {
                return 0;
            }
        } else if (!is_name_character(*at)) {
            return kiln_error_set(err, EINVAL, "\"%s\" is not a host name", name);
        } else {
            label++;
        }
    }
}

/* inet_aton, which name lookups try first, reads 127.1, 0x7f.1 and 017700000001. */
static bool looks_numeric(const char *name)
{
    const char *last = strrchr(name, '.');
    last = last != NULL ? last + 1 : name;
    if (last[0] == '0' && last[1] == 'x') {
        return true;
    }
    return *last != '\0' && last[strspn(last, "0123456789")] == '\0';
}

int kiln_target_set(kiln_target *target, const char *host, size_t length, uint16_t port,
                    kiln_error *err)
{
    char text[KILN_HOST_MAX + 3];
    *target = (kiln_target){.port = port};
    if (length == 0 || length >= sizeof(text) || memchr(host, '\0', length) != NULL) {
        return kiln_error_set(err, EINVAL,
                              length == 0 ? "the host is missing" : "the host is too long");
    }
    for (size_t i = 0; i < length; i++) {
        text[i] = lower(host[i]);
    }
    text[length] = '\0';
    if (text[0] == '[') {
        if (text[length - 1] != ']') {
            return kiln_error_set(err, EINVAL, "\"%s\": the ] is missing", text);
        }
        text[length - 1] = '\0';
        return set_literal(target, AF_INET6, text + 1, err);
    }
    if (text[length - 1] == '.') {
        text[--length] = '\0';
    }
    if (length > KILN_HOST_MAX) {
        return kiln_error_set(err, EINVAL, "the host is too long");
    }
    if (looks_numeric(text)) {
        return set_literal(target, AF_INET, text, err);
    }
    int rc = check_name(text, err);
    if (rc < 0) {
        return rc;
    }
    memcpy(target->host, text, length + 1);
    return 0;
}

/* 0: not a port. */
static uint16_t read_port(const char *text, size_t length)
{
    unsigned long port = 0;
    for (size_t i = 0; i < length; i++) {
        if (!is_digit(text[i]) || length > 5) {
            return 0;
        }
        port = port * 10 + (unsigned long)(text[i] - '0');
    }
    return port <= 65535 ? (uint16_t)port : 0;
}

int kiln_target_parse(kiln_target *target, const char *text, size_t length, uint16_t port,
                      kiln_error *err)
{
    const char *colon = memrchr(text, ':', length);
    const char *bracket = memrchr(text, ']', length);
    if (colon != NULL && bracket != NULL && colon < bracket) {
        colon = NULL; /* one of the address's own */
    }
    size_t host = colon != NULL ? (size_t)(colon - text) : length;
    if (colon != NULL) {
        port = read_port(colon + 1, length - host - 1);
    }
    if (port == 0) {
        return kiln_error_set(err, EINVAL, "\"%.*s\" has no port; write HOST:PORT",
                              (int)(length < 300 ? length : 300), text);
    }
    return kiln_target_set(target, text, host, port, err);
}

void kiln_target_text(const kiln_target *target, char text[KILN_TARGET_TEXT])
{
    bool six = target->literal && target->address.ss_family == AF_INET6;
    snprintf(text, KILN_TARGET_TEXT, six ? "[%s]:%u" : "%s:%u", target->host, target->port);
}

/* ---- the list */

int kiln_allow_list_new(const char *const *words, kiln_allow_list **out, kiln_error *err)
{
    size_t count = 0;
    while (words != NULL && words[count] != NULL) {
        count++;
    }
    kiln_allow_list *list = calloc(1, sizeof(*list) + count * sizeof(list->entries[0]));
    if (list == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    list->count = count;
    for (size_t i = 0; i < count; i++) {
        entry *made = &list->entries[i];
        const char *word = words[i];
        made->below = strncmp(word, "*.", 2) == 0;
        word += made->below ? 2 : 0;
        int rc = kiln_target_parse(&made->target, word, strlen(word), 0, err);
        if (rc == 0 && made->below && made->target.literal) {
            rc = kiln_error_set(err, EINVAL, "\"*.\" goes before a name, not an address");
        }
        if (rc < 0) {
            free(list);
            return kiln_error_wrap(err, "[sandbox] allow: %s", words[i]);
        }
    }
    *out = list;
    return 0;
}

void kiln_allow_list_free(kiln_allow_list *list)
{
    free(list);
}

static bool fits_host(const entry *one, const char *host)
{
    if (!one->below) {
        return strcmp(one->target.host, host) == 0;
    }
    size_t length = strlen(host);
    size_t suffix = strlen(one->target.host);
    return length > suffix + 1 && host[length - suffix - 1] == '.' &&
           strcmp(host + length - suffix, one->target.host) == 0;
}

bool kiln_allow_list_has(const kiln_allow_list *list, const kiln_target *target)
{
    for (size_t i = 0; i < list->count; i++) {
        const entry *one = &list->entries[i];
        if (one->target.port == target->port && one->target.literal == target->literal &&
            fits_host(one, target->host)) {
            return true;
        }
    }
    return false;
}

bool kiln_allow_list_has_host(const kiln_allow_list *list, const char *host)
{
    for (size_t i = 0; i < list->count; i++) {
        if (fits_host(&list->entries[i], host)) {
            return true;
        }
    }
    return false;
}

bool kiln_allow_list_has_address(const kiln_allow_list *list, const struct sockaddr *address)
{
    kiln_target target = {.literal = true};
    if (address->sa_family == AF_INET) {
        target.port = ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
    } else if (address->sa_family == AF_INET6) {
        target.port = ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    } else {
        return false;
    }
    kiln_address_text(address, target.host);
    return kiln_allow_list_has(list, &target);
}
