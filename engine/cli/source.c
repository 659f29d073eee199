#include "cli/source.h"

#include "base/cleanup.h"
#include "connection/origin.h"
#include "core/engine.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { STDIN_MAX = 64 << 20 }; /* bytes; it goes to a worker in one frame */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

bool kiln_is_notebook(const char *file)
{
    const char *dot = strrchr(base_name(file), '.');
    return dot != NULL && strcasecmp(dot, ".ipynb") == 0;
}

char *kiln_source_name(const char *file)
{
    if (file == NULL || strcmp(file, "-") == 0) {
        return strdup("kiln");
    }
    const char *base = base_name(file);
    const char *dot = strrchr(base, '.');
    size_t length = dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
    return length > 0 ? strndup(base, length) : strdup("kiln");
}

int kiln_source_read(const char *path, const char *what, size_t max, kiln_buffer *bytes,
                     kiln_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    auto_close int opened = standard ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int fd = standard ? STDIN_FILENO : opened;
    const char *name = standard ? "standard input" : path;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return kiln_error_errno(err, errno, "%s", name);
    }
    if (S_ISDIR(st.st_mode)) {
        return kiln_error_set(err, -EISDIR, "%s: is a directory, name a file", name);
    }
    if (S_ISREG(st.st_mode) && st.st_size > (off_t)max) {
        return kiln_error_set(err, -E2BIG, "%s: %lld bytes of %s, at most %zu are allowed",
                              name, (long long)st.st_size, what, max);
    }
    for (;;) {
        if (kiln_buffer_reserve(bytes, 65536) < 0) {
            return kiln_error_set(err, -ENOMEM, "%s: out of memory", name);
        }
        ssize_t got = read(fd, bytes->data + bytes->length, 65536);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return kiln_error_errno(err, errno, "%s", name);
        }
        bytes->length += (size_t)got;
        bytes->data[bytes->length] = '\0';
        if (bytes->length > max) {
            return kiln_error_set(err, -E2BIG, "%s: more than %zu bytes of %s", name, max,
                                  what);
        }
        if (got == 0) {
            return 0;
        }
    }
}

/* ---- languages */

static const char *runtime_named(const kiln_config *config, const char *word)
{
    for (const char *const *name = kiln_config_names(config, "runtime"); *name != NULL;
         name++) {
        if (strcasecmp(*name, word) == 0) {
            return *name;
        }
    }
    return NULL;
}

const char *kiln_language_alias(const kiln_config *config, const char *word)
{
    char text[64];
    const char *known = runtime_named(config, word);
    if (known != NULL || strlen(word) > 32) {
        return known;
    }
    /* "py", ".js" */
    snprintf(text, sizeof(text), "x.%s", word[0] == '.' ? word + 1 : word);
    known = kiln_engine_language(config, text);
    if (known != NULL) {
        return known;
    }
    /* "python3.11" */
    snprintf(text, sizeof(text), "%s", word);
    size_t length = strlen(text);
    while (length > 0 &&
           (isdigit((unsigned char)text[length - 1]) || text[length - 1] == '.')) {
        text[--length] = '\0';
    }
    known = length > 0 ? runtime_named(config, text) : NULL;
    if (known != NULL) {
        return known;
    }
    static const struct {
        const char *word, *language;
    } others[] = {
        {"sh", "bash"},         {"dash", "bash"},      {"shell", "bash"}, {"nodejs", "node"},
        {"javascript", "node"}, {"ipython", "python"}, {"luajit", "lua"},
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strcasecmp(text, others[i].word) == 0) {
            return runtime_named(config, others[i].language);
        }
    }
    return NULL;
}

/* The interpreter's base name in "#!/usr/bin/env -S VAR=1 python3 -u", or false. */
static bool shebang(const char *code, size_t length, char *word, size_t size)
{
    if (length < 3 || memcmp(code, "#!", 2) != 0) {
        return false;
    }
    const char *end = memchr(code, '\n', length);
    char line[256];
    size_t line_length = (end != NULL ? (size_t)(end - code) : length) - 2;
    line_length = line_length < sizeof(line) - 1 ? line_length : sizeof(line) - 1;
    memcpy(line, code + 2, line_length);
    line[line_length] = '\0';
    char *rest = line;
    for (char *part = strtok_r(line, " \t\r", &rest); part != NULL;
         part = strtok_r(NULL, " \t\r", &rest)) {
        const char *base = base_name(part);
        if (strcmp(base, "env") == 0 || part[0] == '-' || strchr(part, '=') != NULL) {
            continue;
        }
        snprintf(word, size, "%s", base);
        return true;
    }
    return false;
}

int kiln_source_language(const kiln_run_options *options, const kiln_config *config,
                         const char *code, size_t length, const char **language,
                         kiln_error *err)
{
    char word[64];
    *language = NULL;
    if (options->language != NULL) {
        const char *known = kiln_language_alias(config, options->language);
        *language = known != NULL ? known : options->language; /* a backend may know it */
        return 0;
    }
    bool named = options->file != NULL && strcmp(options->file, "-") != 0;
    if (named) {
        *language = kiln_engine_language(config, options->file);
    }
    if (*language == NULL && shebang(code, length, word, sizeof(word))) {
        *language = kiln_language_alias(config, word);
        if (*language == NULL) {
            return kiln_error_set(
                err, -EINVAL,
                "%s: its #! line names \"%s\", which no [runtime] is for: name "
                "its language by -l",
                named ? options->file : "the code", word);
        }
    }
    if (*language == NULL && named) {
        return kiln_error_set(err, -EINVAL,
                              "%s: its extension tells no language and it has no #! line: name "
                              "its language by -l",
                              options->file);
    }
    if (*language == NULL) {
        *language = "python";
    }
    return 0;
}

int kiln_language_check(const char *language, const kiln_config *config, const json_t *backends,
                        kiln_error *err)
{
    const char *words[128];
    size_t count = 0, i;
    const char *backend;
    json_t *entry, *word;
    for (const char *const *name = kiln_config_names(config, "runtime");
         *name != NULL && count < 100; name++) {
        words[count++] = *name;
    }
    json_object_foreach((json_t *)(uintptr_t)backends, backend, entry)
    {
        json_array_foreach(json_object_get(entry, "languages"), i, word)
        {
            const char *text = json_string_value(word);
            if (text != NULL && count < sizeof(words) / sizeof(words[0]) - 1) {
                words[count++] = text;
            }
        }
    }
    words[count] = NULL;
    for (i = 0; i < count; i++) {
        if (strcmp(words[i], language) == 0) {
            return 0;
        }
    }
    const char *near = kiln_near_match(language, words);
    if (near != NULL) {
        return kiln_error_set(err, -EINVAL, "unknown language \"%s\", did you mean \"%s\"?",
                              language, near);
    }
    return kiln_error_set(err, -EINVAL,
                          "unknown language \"%s\": kiln plugins lists those that there are, a "
                          "[runtime %s] section adds it",
                          language, language);
}

/* ---- files from elsewhere, and input files */

static void note(void *user, const char *text)
{
    (void)user;
    fprintf(stderr, "kiln: warning: %s\n", text);
}

int kiln_source_gather(kiln_run_options *options, const kiln_config *config,
                       kiln_gathered *gathered, kiln_error *err)
{
    gathered->inputs.notice = note;
    if (options->file != NULL && kiln_origin_is(options->file)) {
        if (kiln_inputs_file(&gathered->inputs, config, options->file, NULL, &gathered->file,
                             err) < 0) {
            return err->code;
        }
        options->file = gathered->file;
    }
    for (const char *const *input = options->inputs; *input != NULL; input++) {
        if (kiln_inputs_add(&gathered->inputs, config, *input, NULL, err) < 0) {
            /* What a wrong address holds may be a password: its own text says enough. */
            return kiln_error_wrap(err, "-i%s%s", kiln_origin_is(*input) ? "" : " ",
                                   kiln_origin_is(*input) ? "" : *input);
        }
    }
    return 0;
}

void kiln_gathered_free(kiln_gathered *gathered)
{
    kiln_inputs_free(&gathered->inputs);
    free(gathered->file);
}

int kiln_source_add_inputs(const kiln_inputs *inputs, kiln_request *request, kiln_error *err)
{
    for (size_t i = 0; i < inputs->count; i++) {
        if (kiln_request_add_file(request, inputs->files[i].name, inputs->files[i].path, NULL,
                                  0, NULL) < 0) {
            return kiln_error_set(err, -ENOMEM, "out of memory");
        }
    }
    return 0;
}

static int load_code(const kiln_run_options *options, kiln_source *source, kiln_error *err)
{
    if (options->code != NULL) {
        size_t length = strlen(options->code);
        if (length > KILN_CODE_MAX) {
            return kiln_error_set(err, -E2BIG, "-c: %zu bytes of code, at most %d are allowed",
                                  length, KILN_CODE_MAX);
        }
        int rc = kiln_buffer_append(&source->code, options->code, length);
        return rc < 0 ? kiln_error_set(err, rc, "out of memory") : 0;
    }
    return kiln_is_notebook(options->file)
               ? kiln_ipynb_read(options->file, &source->notebook, err)
               : kiln_source_read(options->file, "code", KILN_CODE_MAX, &source->code, err);
}

static int find_language(const kiln_run_options *options, const kiln_config *config,
                         kiln_source *source, kiln_error *err)
{
    const kiln_ipynb *notebook = source->notebook;
    if (notebook == NULL || options->language != NULL) {
        return kiln_source_language(options, config,
                                    source->code.length > 0 ? source->code.data : "",
                                    source->code.length, &source->language, err);
    }
    source->language = kiln_language_alias(config, notebook->language);
    if (source->language == NULL && notebook->file_extension != NULL) {
        source->language = kiln_language_alias(config, notebook->file_extension);
    }
    if (source->language == NULL) {
        source->language = notebook->language; /* a backend may know it */
    }
    return 0;
}

int kiln_source_load(const kiln_run_options *options, const kiln_config *config,
                     kiln_source *source, kiln_error *err)
{
    int rc = load_code(options, source, err);
    if (rc == 0 && options->stdin_path != NULL) {
        rc = kiln_source_read(options->stdin_path, "standard input", STDIN_MAX,
                              &source->stdin_data, err);
        rc = rc < 0 ? kiln_error_wrap(err, "--stdin") : 0;
    }
    return rc < 0 ? rc : find_language(options, config, source, err);
}

void kiln_source_free(kiln_source *source)
{
    kiln_ipynb_free(source->notebook);
    kiln_buffer_free(&source->code);
    kiln_buffer_free(&source->stdin_data);
}
