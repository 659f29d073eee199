/* archive.c - `kiln archive`: files in one file that is named by its content, and back. */
#include "cli/command.h"

#include "base/cleanup.h"
#include "bundle/bundle.h"
#include "cli/setup.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { SETS_MAX = 256 };

static const char help[] =
    "usage: kiln archive save [-o DIR] [NAME=]FILE|FOLDER/...\n"
    "       kiln archive restore [-o DIR] ARCHIVE\n"
    "\n"
    "save writes the files into DIR/SHA256.tar.gz and prints that name: the hash of what is\n"
    "in it, the same for the same names and contents. So that the output files of an\n"
    "execution, or a whole session (kiln run -o DIR NOTEBOOK: the executed notebook and all\n"
    "that its cells made; :archive of kiln repl does it at the prompt), are one file. restore "
    "writes them back into DIR, which has to be\n"
    "new or empty, and refuses an archive that is not what its name says; the notebook can\n"
    "then be run again with its files by -i. Archives are made and opened in a confined\n"
    "process; links, devices and names that climb are left out, and told.\n"
    "\n"
    "  -o, --output DIR         where to; .\n"
    "      --config FILE        another kiln.ini ([limits] disk and memory count)\n"
    "  -s, --set SECTION.KEY=V  one key of the configuration\n"
    "      --json               {\"archive\",\"files\",\"left_out\"} on standard output\n"
    "  -h, --help               this\n"
    "\n"
    "exit status: 0; 2 usage or a file that cannot be read, 125 it could not be done.\n";

typedef struct options {
    const char *config, *out;
    const char *set[SETS_MAX + 3];
    size_t set_count;
    bool json, help;
    char **words; /* save or restore, and what follows */
} options;

static int usage(const char *what, const char *word)
{
    fprintf(stderr, "kiln: archive: %s%s; see kiln archive --help\n", what, word);
    return KILN_EXIT_USAGE;
}

static int complain(const kiln_error *err, int status)
{
    fprintf(stderr, "kiln: %s\n", err->text);
    return status;
}

static int read_options(int argc, char **argv, options *o)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'}, {"set", required_argument, NULL, 's'},
        {"output", required_argument, NULL, 'o'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int option;
    opterr = 0;
    optind = 0;
    o->out = ".";
    while ((option = getopt_long(argc, argv, ":hs:o:", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            o->config = optarg;
            break;
        case 's':
            if (o->set_count == SETS_MAX) {
                return usage("too many --set", "");
            }
            o->set[o->set_count++] = optarg;
            break;
        case 'o':
            o->out = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case 'h':
            o->help = true;
            return 0;
        case ':':
            return usage("a value is missing after ", argv[optind - 1]);
        default:
            return usage("unknown option ", argv[optind - 1]);
        }
    }
    o->words = argv + optind;
    const char *verb = o->words[0];
    if (verb == NULL || (strcmp(verb, "save") != 0 && strcmp(verb, "restore") != 0)) {
        return usage("save or restore is expected", verb != NULL ? ", not " : "");
    }
    if (o->words[1] == NULL) {
        return usage(verb[0] == 's' ? "no file to save" : "no archive to restore", "");
    }
    return verb[0] == 'r' && o->words[2] != NULL
               ? usage("one archive at a time, not also ", o->words[2])
               : 0;
}

static void note(void *user, const char *text)
{
    (void)user;
    fprintf(stderr, "kiln: warning: %s\n", text);
}

static int tell(const options *o, const char *path, size_t count, const json_t *left_out)
{
    size_t i;
    json_t *line;
    if (o->json) {
        auto_json json_t *all = json_pack("{s:s, s:I, s:O?}", "archive", path, "files",
                                          (json_int_t)count, "left_out", left_out);
        return all != NULL && json_dumpf(all, stdout, JSON_COMPACT) == 0 && puts("") >= 0
                   ? 0
                   : -EIO;
    }
    json_array_foreach(left_out, i, line)
    {
        kiln_error one = KILN_ERROR_INIT; /* one line, whatever the name holds */
        kiln_error_set(&one, EINVAL, "left out: %s", json_string_value(line));
        note(NULL, one.text);
    }
    return o->words[0][0] == 's' ? printf("%s\n", path)
                                 : printf("%zu files in %s\n", count, o->out);
}

static int work(const options *o, kiln_engine *engine, uv_loop_t *loop,
                const kiln_inputs *files, kiln_error *err)
{
    auto_free char *path = NULL;
    auto_json json_t *left_out = NULL;
    size_t count = files->count;
    int rc = o->words[0][0] == 's' ? kiln_archive_save(engine, loop, files, o->out, &path, err)
                                   : kiln_archive_restore(engine, loop, o->words[1], o->out,
                                                          &left_out, &count, err);
    if (rc == 0 && (tell(o, path != NULL ? path : o->words[1], count, left_out) < 0 ||
                    fflush(stdout) != 0)) {
        rc = kiln_error_errno(err, EIO, "standard output");
    }
    return rc;
}

static int gather(const options *o, const kiln_config *config, kiln_inputs *files,
                  kiln_error *err)
{
    int rc = 0;
    for (char **word = o->words + 1; rc == 0 && o->words[0][0] == 's' && *word != NULL;
         word++) {
        rc = kiln_inputs_add(files, config, *word, NULL, err);
        rc = rc < 0 ? kiln_error_wrap(err, "archive: %s", *word) : 0;
    }
    return rc;
}

/* Owns config. */
static int run_with(const options *o, kiln_config *config, const kiln_paths *paths)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_inputs files = {.notice = note};
    kiln_engine *engine = NULL;
    uv_loop_t loop;
    int status = KILN_EXIT_ENGINE;
    int rc = gather(o, config, &files, &err);
    if (rc < 0 || uv_loop_init(&loop) < 0) {
        kiln_config_free(config);
        kiln_inputs_free(&files);
        return complain(&err, KILN_EXIT_USAGE);
    }
    rc = kiln_engine_open(&loop, config, paths, "bundle", &engine, &err);
    if (rc < 0) {
        status = kiln_open_failure_status(rc);
    } else {
        rc = work(o, engine, &loop, &files, &err);
        status = rc == -EEXIST || rc == -EBADMSG || rc == -ENOENT ? KILN_EXIT_USAGE : status;
    }
    if (engine != NULL) {
        kiln_engine_close(engine);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    kiln_inputs_free(&files);
    return rc < 0 ? complain(&err, status) : KILN_EXIT_OK;
}

static int run(int argc, char **argv)
{
    options o = {0};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config;
    kiln_paths paths;
    char **words = NULL;
    int status = read_options(argc, argv, &o);
    if (status != 0) {
        return status;
    }
    if (o.help) {
        return fputs(help, stdout) >= 0 && fflush(stdout) == 0 ? KILN_EXIT_OK
                                                               : KILN_EXIT_ENGINE;
    }
    if (kiln_setup_bundle(o.config, o.set, o.set_count, &paths, &config, &words, &status,
                          &err) < 0) {
        complain(&err, status);
    } else {
        status = run_with(&o, config, &paths);
    }
    kiln_bundle_words_free(words);
    return status;
}

const kiln_command kiln_command_archive = {
    "archive",
    "saves files as one archive named by its content, and restores them",
    run,
};
