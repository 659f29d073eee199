/* ARNs, addresses and origins: the first byte chooses. What is accepted must hold what its
 * header promises, and be accepted again in its plain form. */
#include "connection/arn.h"
#include "connection/origin.h"
#include "contract/input.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void check_origin(const char *text)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_origin origin;
    if (kiln_origin_parse(text, &origin, &err) == 0 && origin.kind != KILN_ORIGIN_FILE) {
        assert(origin.repository != NULL && origin.ref != NULL && origin.path != NULL);
        assert(origin.ref[0] != '-' && origin.ref[0] != '+' && strchr(origin.ref, ':') == NULL);
        assert(origin.path[0] == '\0' || kiln_file_name_check(origin.path, &err) == 0);
        assert(origin.folder || origin.path[0] != '\0');
        assert(origin.repository[0] != '-' && strchr(origin.repository, '@') == NULL);
        assert((origin.connection != NULL) == (origin.kind == KILN_ORIGIN_CONNECTION));
        (void)kiln_origin_base_name(&origin);
    }
    kiln_origin_free(&origin);
}

static void check_arn(const char *text)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_arn arn;
    char endpoint[KILN_ENDPOINT_MAX], again[256];
    if (kiln_arn_parse(text, &arn, &err) == 0) {
        kiln_arn_endpoint(&arn, endpoint, sizeof(endpoint));
        assert(kiln_git_url_check(endpoint, 0, &err) == 0);
        snprintf(again, sizeof(again), "arn:%s:%s:%s:%s:connection/%s", arn.partition,
                 arn.service, arn.region, arn.account, arn.id);
        assert(strcmp(again, text) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kiln_error err = KILN_ERROR_INIT;
    if (size == 0 || size > 5000) {
        return 0;
    }
    char *text = malloc(size);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (data[0] % 3 == 0) {
        check_arn(text);
    } else if (data[0] % 3 == 1) {
        check_origin(text);
    } else if (kiln_git_url_check(text, data[0] & 1, &err) == 0) {
        assert(strchr(text, '@') == NULL || strchr(text, '@') > strchr(text + 8, '/'));
    }
    free(text);
    return 0;
}
