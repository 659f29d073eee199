#include "eval/task.h"

#include "base/cleanup.h"
#include "base/utf8.h"
#include "contract/input.h"
#include "core/engine.h"
#include "files/read.h"

#include <errno.h>
#include <string.h>

enum {
    STDIN_MAX = 64 << 20,
    INSTRUCT_MAX = 1 << 20, /* bytes of a source of truth that a policy is given */
};

static int at_key(const kiln_scenario *scenario, kiln_scenario_key key, kiln_error *err)
{
    char text[sizeof(err->text)];
    memcpy(text, err->text, sizeof(text));
    int code = err->code;
    kiln_place_error(err, &scenario->places[key], "%s: %s", kiln_scenario_keys[key].name, text);
    err->code = code;
    return code;
}

/* ---- the code */

static int take_code(kiln_task *task, const kiln_config *config, kiln_error *err)
{
    const kiln_scenario *scenario = task->scenario;
    const char *word = kiln_scenario_text(scenario, KILN_SCENARIO_CODE);
    auto_free char *path = NULL;
    int rc = kiln_inputs_file(&task->inputs, config, word,
                              scenario->places[KILN_SCENARIO_CODE].base, &path, err);
    rc = rc < 0 ? rc : kiln_read_file(path, KILN_CODE_MAX, &task->code, err);
    if (rc == 0 && task->language == NULL) {
        task->language = kiln_engine_language(config, path);
        if (task->language == NULL) {
            rc = kiln_error_set(
                err, EINVAL, "the extension of %s tells no language; add language = ...", word);
        }
    }
    return rc < 0 ? at_key(scenario, KILN_SCENARIO_CODE, err) : 0;
}

static int take_notebook(kiln_task *task, const kiln_config *config, kiln_error *err)
{
    const kiln_scenario *scenario = task->scenario;
    auto_free char *path = NULL;
    int rc = kiln_inputs_file(&task->inputs, config,
                              kiln_scenario_text(scenario, KILN_SCENARIO_NOTEBOOK),
                              scenario->places[KILN_SCENARIO_NOTEBOOK].base, &path, err);
    rc = rc < 0 ? rc : kiln_ipynb_read(path, &task->notebook, err);
    if (rc == 0 && task->language == NULL) {
        task->language = task->notebook->language;
    }
    return rc < 0 ? at_key(scenario, KILN_SCENARIO_NOTEBOOK, err) : 0;
}

/* What a policy's instruct(scenario, ctx) gets. */
static int take_instruction(kiln_task *task, const char *source_name, const char *source_path,
                            kiln_error *err)
{
    const kiln_scenario *scenario = task->scenario;
    const char *name = kiln_scenario_text(scenario, KILN_SCENARIO_NAME);
    task->instruct =
        json_pack("{s:s, s:s, s:s?, s:[]}", "name", name != NULL ? name : scenario->id,
                  "instruction", kiln_scenario_text(scenario, KILN_SCENARIO_INSTRUCTION),
                  "language", kiln_scenario_text(scenario, KILN_SCENARIO_LANGUAGE), "inputs");
    json_t *names = json_object_get(task->instruct, "inputs");
    for (size_t i = 0; i < task->inputs.count; i++) {
        json_array_append_new(names, json_string(task->inputs.files[i].name));
    }
    int rc = task->instruct == NULL ? kiln_error_set(err, ENOMEM, "out of memory") : 0;
    if (rc == 0 && source_path != NULL) {
        auto_buffer kiln_buffer text = KILN_BUFFER_INIT, valid = KILN_BUFFER_INIT;
        rc = kiln_read_file(source_path, INSTRUCT_MAX, &text, err);
        if (rc < 0) {
            return at_key(scenario, KILN_SCENARIO_SOURCE, err);
        }
        if (kiln_utf8_append(&valid, text.data, text.length, false) < 0 ||
            json_object_set_new(task->instruct, "source_of_truth",
                                json_pack("{s:s, s:s%}", "name", source_name, "text",
                                          valid.data != NULL ? valid.data : "", valid.length)) <
                0) {
            rc = kiln_error_set(err, ENOMEM, "out of memory");
        }
    }
    return rc;
}

static int take_source(kiln_task *task, const kiln_config *config, const char **name,
                       const char **path, kiln_error *err)
{
    const kiln_scenario *scenario = task->scenario;
    const char *source = kiln_scenario_text(scenario, KILN_SCENARIO_SOURCE);
    if (source == NULL) {
        return 0;
    }
    int rc = kiln_inputs_add(&task->inputs, config, source,
                             scenario->places[KILN_SCENARIO_SOURCE].base, err);
    if (rc == 0 && task->inputs.count != 1) {
        rc = kiln_error_set(err, EINVAL, "is a folder, name a file");
    }
    if (rc < 0) {
        return at_key(scenario, KILN_SCENARIO_SOURCE, err);
    }
    *name = task->inputs.files[0].name;
    *path = task->inputs.files[0].path;
    return 0;
}

static int take_files(kiln_task *task, const kiln_config *config, kiln_error *err)
{
    const kiln_scenario *scenario = task->scenario;
    const char *stdin_path = kiln_scenario_text(scenario, KILN_SCENARIO_STDIN);
    for (const char *const *word = kiln_scenario_words(scenario, KILN_SCENARIO_INPUTS);
         *word != NULL; word++) {
        if (kiln_inputs_add(&task->inputs, config, *word,
                            scenario->places[KILN_SCENARIO_INPUTS].base, err) < 0) {
            return at_key(scenario, KILN_SCENARIO_INPUTS, err);
        }
    }
    return stdin_path != NULL &&
                   kiln_read_file(stdin_path, STDIN_MAX, &task->stdin_data, err) < 0
               ? at_key(scenario, KILN_SCENARIO_STDIN, err)
               : 0;
}

int kiln_task_prepare(kiln_task *task, const kiln_scenario *scenario, const kiln_config *config,
                      void (*notice)(void *user, const char *text), void *user, kiln_error *err)
{
    const char *command = kiln_scenario_text(scenario, KILN_SCENARIO_COMMAND);
    const char *source_name = NULL, *source_path = NULL;
    *task = (kiln_task){.scenario = scenario,
                        .inputs = {.notice = notice, .user = user},
                        .language = kiln_scenario_text(scenario, KILN_SCENARIO_LANGUAGE)};
    int rc = take_source(task, config, &source_name, &source_path, err);
    rc = rc < 0 ? rc : take_files(task, config, err);
    if (rc < 0) {
        return rc;
    }
    if (kiln_scenario_text(scenario, KILN_SCENARIO_CODE) != NULL) {
        rc = take_code(task, config, err);
    } else if (kiln_scenario_text(scenario, KILN_SCENARIO_NOTEBOOK) != NULL) {
        rc = take_notebook(task, config, err);
    } else if (command != NULL) {
        task->language = task->language != NULL ? task->language : "bash";
        rc = kiln_buffer_printf(&task->code, "%s\n", command) < 0
                 ? kiln_error_set(err, ENOMEM, "out of memory")
                 : 0;
    } else {
        rc = take_instruction(task, source_name, source_path, err);
    }
    return rc < 0 ? rc
                  : kiln_normal_new(kiln_scenario_words(scenario, KILN_SCENARIO_NORMALISE),
                                    kiln_scenario_words(scenario, KILN_SCENARIO_MASK),
                                    &task->normal, err);
}

void kiln_task_free(kiln_task *task)
{
    kiln_inputs_free(&task->inputs);
    kiln_buffer_free(&task->code);
    kiln_buffer_free(&task->stdin_data);
    kiln_ipynb_free(task->notebook);
    kiln_normal_free(task->normal);
    json_decref(task->instruct);
}
