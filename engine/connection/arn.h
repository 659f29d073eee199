/* arn.h - the Amazon resource name of a connection to a Git host, and the Git endpoint that
 * it stands for. Pure. Thread: any.
 * https://docs.aws.amazon.com/codeconnections/latest/userguide/ */
#ifndef KILN_CONNECTION_ARN_H
#define KILN_CONNECTION_ARN_H

#include "base/error.h"

#include <stddef.h>

typedef struct kiln_arn {
    char partition[16]; /* aws, aws-cn, aws-us-gov */
    char service[32];   /* codeconnections, codestar-connections */
    char region[32];    /* us-west-2 */
    char account[13];
    char id[37]; /* UUID, lower case */
} kiln_arn;

/* "arn:PARTITION:SERVICE:REGION:ACCOUNT:connection/ID". 0, or -EINVAL with the end of a
 * sentence that begins with the quoted text: which field is wrong, and what it may be. */
int kiln_arn_parse(const char *text, kiln_arn *arn, kiln_error *err);
/* "https://SERVICE.REGION.amazonaws.com/git-http/ACCOUNT/REGION/ID/". Returns text. */
const char *kiln_arn_endpoint(const kiln_arn *arn, char *text, size_t size);
enum { KILN_ENDPOINT_MAX = 1024 };

/* A folder of repositories, or with `repository` one itself: https://HOST[:PORT]/... without
 * user, query and fragment; http:// where `plain` allows it. -EINVAL as above. */
int kiln_git_url_check(const char *url, int plain, kiln_error *err);

#endif
