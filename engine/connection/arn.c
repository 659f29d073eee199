#include "connection/arn.h"

#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const partitions[] = {"aws", "aws-cn", "aws-us-gov", NULL};
static const char *const services[] = {"codeconnections", "codestar-connections", NULL};

enum { FIELDS = 6 };

static int field_error(kiln_error *err, const char *field, const char *text, size_t length,
                       const char *expected)
{
    return kiln_error_set(err, EINVAL, "is no ARN of a connection: its %s is \"%.*s\"%s", field,
                          (int)(length < 40 ? length : 40), text, expected);
}

/* The field as a word of its own in `out`, or an error when it is none of the words. */
static int one_of(const char *name, const char *text, size_t length, const char *const *words,
                  char *out, size_t size, kiln_error *err)
{
    char expected[160] = ", it must be ";
    snprintf(out, size, "%.*s", (int)length, text);
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strlen(words[i]) == length && strcmp(words[i], out) == 0) {
            return 0;
        }
        size_t used = strlen(expected);
        snprintf(expected + used, sizeof(expected) - used, "%s%s", i > 0 ? " or " : "",
                 words[i]);
    }
    const char *near = kiln_near_match(out, words);
    if (near != NULL) {
        snprintf(expected, sizeof(expected), ", did you mean \"%s\"?", near);
    }
    return field_error(err, name, text, length, expected);
}

/* "us-west-2", "us-gov-east-1": words and a number. */
static bool is_region(const char *text, size_t length)
{
    size_t words = 0, at = 0;
    while (at < length && islower((unsigned char)text[at])) {
        size_t from = at;
        while (at < length && islower((unsigned char)text[at])) {
            at++;
        }
        if (at - from < 2 || at == length || text[at] != '-') {
            return false;
        }
        at++;
        words++;
    }
    size_t digits = at;
    while (at < length && isdigit((unsigned char)text[at])) {
        at++;
    }
    return words >= 2 && at > digits && at - digits <= 2 && at == length && length < 32;
}

static const char *partition_of(const char *region)
{
    return strncmp(region, "cn-", 3) == 0       ? "aws-cn"
           : strncmp(region, "us-gov-", 7) == 0 ? "aws-us-gov"
                                                : "aws";
}

static int take_region(kiln_arn *arn, const char *text, size_t length, kiln_error *err)
{
    if (!is_region(text, length)) {
        return field_error(err, "region", text, length, ", write one like us-west-2");
    }
    snprintf(arn->region, sizeof(arn->region), "%.*s", (int)length, text);
    const char *partition = partition_of(arn->region);
    if (strcmp(partition, arn->partition) != 0) {
        char expected[96];
        snprintf(expected, sizeof(expected), ", which is in the partition %s and not in %s",
                 partition, arn->partition);
        return field_error(err, "region", text, length, expected);
    }
    return 0;
}

static int take_account(kiln_arn *arn, const char *text, size_t length, kiln_error *err)
{
    bool good = length == 12;
    for (size_t i = 0; i < length; i++) {
        good = good && isdigit((unsigned char)text[i]);
    }
    if (!good) {
        return field_error(err, "account", text, length, ", it must be 12 digits");
    }
    memcpy(arn->account, text, 12);
    arn->account[12] = '\0';
    return 0;
}

/* "connection/" and a UUID as RFC 9562 writes it. */
static int take_resource(kiln_arn *arn, const char *text, size_t length, kiln_error *err)
{
    static const char kind[] = "connection/";
    const size_t prefix = sizeof(kind) - 1;
    if (length < prefix || strncmp(text, kind, prefix) != 0) {
        return field_error(err, "resource", text, length, ", it must be connection/ID");
    }
    const char *id = text + prefix;
    bool good = length - prefix == 36;
    for (size_t i = 0; good && i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        good = dash ? id[i] == '-'
                    : isdigit((unsigned char)id[i]) || (id[i] >= 'a' && id[i] <= 'f');
    }
    if (!good) {
        return field_error(err, "connection's id", id, length - prefix,
                           ", it must be a UUID in lower case: 8-4-4-4-12 hexadecimal digits");
    }
    memcpy(arn->id, id, 36);
    arn->id[36] = '\0';
    return 0;
}

int kiln_arn_parse(const char *text, kiln_arn *arn, kiln_error *err)
{
    const char *from[FIELDS];
    size_t length[FIELDS];
    size_t count = 0;
    for (const char *at = text; count < FIELDS; at += length[count++] + 1) {
        from[count] = at;
        length[count] = count < FIELDS - 1 ? strcspn(at, ":") : strlen(at);
        if (at[length[count]] == '\0') {
            count++;
            break;
        }
    }
    *arn = (kiln_arn){.id = ""};
    if (length[0] != 3 || strncmp(text, "arn", 3) != 0) {
        return kiln_error_set(err, EINVAL, "is no ARN: it does not begin with \"arn:\"");
    }
    if (count < FIELDS) {
        return kiln_error_set(err, EINVAL,
                              "is no ARN of a connection: %zu of 6 fields; write "
                              "arn:PARTITION:SERVICE:REGION:ACCOUNT:connection/ID",
                              count);
    }
    int rc = one_of("partition", from[1], length[1], partitions, arn->partition,
                    sizeof(arn->partition), err);
    rc = rc < 0 ? rc
                : one_of("service", from[2], length[2], services, arn->service,
                         sizeof(arn->service), err);
    rc = rc < 0 ? rc : take_region(arn, from[3], length[3], err);
    rc = rc < 0 ? rc : take_account(arn, from[4], length[4], err);
    return rc < 0 ? rc : take_resource(arn, from[5], length[5], err);
}

const char *kiln_arn_endpoint(const kiln_arn *arn, char *text, size_t size)
{
    snprintf(text, size, "https://%s.%s.amazonaws.com%s/git-http/%s/%s/%s/", arn->service,
             arn->region, strcmp(arn->partition, "aws-cn") == 0 ? ".cn" : "", arn->account,
             arn->region, arn->id);
    return text;
}

int kiln_git_url_check(const char *url, int plain, kiln_error *err)
{
    const char *rest = strncmp(url, "https://", 8) == 0           ? url + 8
                       : plain && strncmp(url, "http://", 7) == 0 ? url + 7
                                                                  : NULL;
    if (rest == NULL) {
        return kiln_error_set(err, EINVAL, "is no address of a Git host: begin it with %s",
                              plain ? "https:// or http://" : "https://");
    }
    size_t host = strcspn(rest, "/");
    if (host == 0 || rest[0] == ':') {
        return kiln_error_set(err, EINVAL, "names no host");
    }
    if (memchr(rest, '@', host) != NULL) {
        return kiln_error_set(err, EINVAL,
                              "holds a user or a password, which would be seen: have a "
                              "credential_helper give them");
    }
    for (const char *c = rest; *c != '\0'; c++) {
        bool plainly = isalnum((unsigned char)*c) || strchr("-._~/:[]%+", *c) != NULL;
        if (!plainly || (c - rest < (long)host && strchr("%+~", *c) != NULL)) {
            return kiln_error_set(err, EINVAL, "holds \"%c\", which has no place in it",
                                  *c < 0x20 || *c > 0x7e ? '?' : *c);
        }
    }
    for (const char *part = strchr(rest, '/'); part != NULL; part = strchr(part + 1, '/')) {
        size_t length = strcspn(part + 1, "/");
        if ((length == 1 || length == 2) && strncmp(part + 1, "..", length) == 0) {
            return kiln_error_set(err, EINVAL, "holds \".\" or \"..\" as a folder");
        }
    }
    if (strlen(url) >= KILN_ENDPOINT_MAX / 2) {
        return kiln_error_set(err, EINVAL, "is too long");
    }
    return 0;
}
