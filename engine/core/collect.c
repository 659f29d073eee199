/* Output files of a run: what was made or changed in the work directory, and the
 * images that were displayed (the seed's fifth implementation saves those too). */
#include "core/engine-t.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "files/workdir.h"

#include <sodium.h>
#include <string.h>

static void refused(void *user, const char *name, const char *why)
{
    char message[1400];
    snprintf(message, sizeof(message), "%s: %s", name, why);
    kiln_result_add_error(user, "user", "OutputFileRefused", message, NULL);
}

static const struct image_type {
    const char *mime_type;
    const char *extension;
    bool base64;
    const char *magic; /* what such a file begins with, or NULL */
    size_t magic_length;
} image_types[] = {
    {"image/png", "png", true, "\x89PNG\r\n\x1a\n", 8},
    {"image/jpeg", "jpg", true, "\xff\xd8\xff", 3},
    {"image/gif", "gif", true, "GIF8", 4},
    {"image/svg+xml", "svg", false, NULL, 0},
};

static void save_image(kiln_execution *execution, kiln_result *result,
                       const struct image_type *type, const json_t *value, unsigned *count)
{
    const char *text = json_string_value(value);
    size_t length = json_string_length(value);
    auto_free unsigned char *decoded = NULL;
    char name[80];
    snprintf(name, sizeof(name), "display-%llu-%u.%s",
             (unsigned long long)result->execution_count, ++*count, type->extension);
    if (type->base64) {
        size_t size = length / 4 * 3 + 3;
        decoded = malloc(size);
        if (decoded == NULL || sodium_base642bin(decoded, size, text, length, "\r\n ", &length,
                                                 NULL, sodium_base64_VARIANT_ORIGINAL) != 0) {
            refused(result, name, "the displayed image is not base64");
            return;
        }
        text = (const char *)decoded;
    }
    if (type->magic != NULL &&
        (length < type->magic_length || memcmp(text, type->magic, type->magic_length) != 0)) {
        refused(result, name, "the displayed data is not an image of its MIME type");
        return;
    }
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_output_file_add(execution->options.out_fd, execution->out_path, name,
                             type->mime_type, text, length, result->output_files, &err) < 0) {
        refused(result, name, err.text);
    }
}

static void save_images(kiln_execution *execution, kiln_result *result)
{
    unsigned count = 0;
    size_t index;
    json_t *output;
    json_array_foreach(result->outputs, index, output)
    {
        const json_t *data = json_object_get(output, "data");
        for (size_t i = 0; i < sizeof(image_types) / sizeof(image_types[0]); i++) {
            const json_t *value = json_object_get(data, image_types[i].mime_type);
            if (json_is_string(value)) {
                save_image(execution, result, &image_types[i], value, &count);
                break; /* one picture in several formats is one file */
            }
        }
    }
}

void kiln_core_run_collect(kiln_execution *execution, kiln_result *result, int root_fd,
                           const char *area, kiln_manifest **look)
{
    kiln_error err = KILN_ERROR_INIT;
    if (root_fd >= 0 && *look != NULL &&
        kiln_workdir_collect(root_fd, area, look, execution->options.out_fd,
                             execution->out_path, result->output_files, refused, result,
                             &err) < 0) {
        kiln_log(KILN_LOG_ERROR, "files", "%s", err.text);
        kiln_result_add_error(result, "system", "OutputFiles", err.text, NULL);
    }
    save_images(execution, result);
}
