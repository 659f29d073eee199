/* What git's ls-tree and cat-file say of a stranger's commit, credential answers, and
 * scenarios: the first byte chooses. */
#include "connection/credential.h"
#include "connection/fetch.h"
#include "connection/tree.h"
#include "contract/input.h"
#include "eval/scenario.h"

#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check_tree(kiln_buffer *bytes, bool folder)
{
    kiln_error err = KILN_ERROR_INIT;
    char path[] = "a", ref[] = "HEAD";
    kiln_origin origin = {.kind = KILN_ORIGIN_GIT,
                          .path = folder ? path : path + 1,
                          .ref = ref,
                          .folder = folder};
    kiln_tree tree = {.left_out = json_array()};
    kiln_buffer contents = KILN_BUFFER_INIT;
    json_t *names = json_array();
    /* The listing up to a "|", the contents behind it. */
    const char *bar = memchr(bytes->data, '|', bytes->length);
    if (bar != NULL) {
        kiln_buffer_append(&contents, bar + 1, bytes->length - (size_t)(bar - bytes->data) - 1);
        bytes->length = (size_t)(bar - bytes->data);
        bytes->data[bytes->length] = '\0';
    }
    if (kiln_tree_read(&tree, &origin, bytes, 1000, &err) == 0) {
        assert(tree.total <= 1000 && tree.count <= KILN_FETCH_FILES_MAX);
        for (size_t i = 0; i < tree.count; i++) {
            assert(kiln_file_name_check(tree.entries[i].name, &err) == 0);
        }
        if (contents.length > 0) {
            kiln_tree_write(&tree, &contents, -1, names, &err); /* no folder: nothing is made */
        }
    }
    kiln_tree_free(&tree);
    kiln_buffer_free(&contents);
    json_decref(names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kiln_error err = KILN_ERROR_INIT;
    if (size == 0 || size > 20000) {
        return 0;
    }
    kiln_buffer bytes = KILN_BUFFER_INIT;
    kiln_buffer_reserve(&bytes, size);
    kiln_buffer_append(&bytes, data + 1, size - 1);
    if (bytes.data != NULL && data[0] % 3 < 2 && data[0] < 128) {
        check_tree(&bytes, data[0] % 3 == 0);
    } else if (bytes.data != NULL && data[0] < 128) {
        kiln_credential credential = {NULL, NULL};
        kiln_program_end end = {.output = &bytes, .complaint = ""};
        if (kiln_credential_read(&credential, &end, &err) == 0) {
            assert(strpbrk(credential.authorization, "\r\n") == NULL);
        }
        kiln_credential_free(&credential);
    } else {
        kiln_scenarios scenarios = KILN_SCENARIOS_INIT;
        kiln_scenarios_read_memory(&scenarios, "fuzz.ini", (const char *)data + 1, size - 1,
                                   &err);
        kiln_scenarios_free(&scenarios);
    }
    kiln_buffer_free(&bytes);
    return 0;
}
