/* credential.h - what a credential helper says, by Git's own protocol (git-credential(1)):
 * "key=value" lines on standard input, "get" as its last word, the same back.
 * It is kept in memory for the time of a fetch, and overwritten after. Thread: any. */
#ifndef KILN_CONNECTION_CREDENTIAL_H
#define KILN_CONNECTION_CREDENTIAL_H

#include "base/buffer.h"
#include "base/error.h"
#include "program/program.h"

#include <stdbool.h>

enum { KILN_CREDENTIAL_MAX = 64 << 10 }; /* bytes of a helper's answer */

typedef struct kiln_credential {
    char *authorization; /* "Basic BASE64", or NULL: none */
    char *password;
} kiln_credential;

/* protocol, host and path of the address. 0 or -ENOMEM. */
int kiln_credential_ask(const char *url, kiln_buffer *question);
/* Reads the helper's answer and overwrites it. What a helper says on standard error is
 * never told: it may hold the secret. */
int kiln_credential_read(kiln_credential *credential, kiln_program_end *end, kiln_error *err);
/* Whether `text` holds the secret. */
bool kiln_credential_shows(const kiln_credential *credential, const char *text);
void kiln_credential_free(kiln_credential *credential);

#endif
