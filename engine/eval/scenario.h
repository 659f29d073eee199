/* scenario.h - what `kiln eval` runs: INI files of [scenario NAME] sections, read by the
 * configuration's own reader with a schema of their own. Thread: any, one at a time. */
#ifndef KILN_EVAL_SCENARIO_H
#define KILN_EVAL_SCENARIO_H

#include "base/error.h"
#include "config/arena.h"
#include "config/place.h"
#include "config/value.h"

#include <stddef.h>
#include <stdint.h>

/* In the order of kiln_scenario_keys. */
typedef enum kiln_scenario_key {
    KILN_SCENARIO_NAME,
    KILN_SCENARIO_INSTRUCTION,
    KILN_SCENARIO_SOURCE,
    KILN_SCENARIO_CODE,
    KILN_SCENARIO_COMMAND,
    KILN_SCENARIO_NOTEBOOK,
    KILN_SCENARIO_INPUTS,
    KILN_SCENARIO_EXPECTED,
    KILN_SCENARIO_BUNDLE,
    KILN_SCENARIO_LANGUAGE,
    KILN_SCENARIO_BACKEND,
    KILN_SCENARIO_CHAIN,
    KILN_SCENARIO_ARGS,
    KILN_SCENARIO_STDIN,
    KILN_SCENARIO_STDOUT,
    KILN_SCENARIO_EXIT_STATUS,
    KILN_SCENARIO_TIMEOUT,
    KILN_SCENARIO_EPOCH,
    KILN_SCENARIO_NORMALISE,
    KILN_SCENARIO_MASK,
    KILN_SCENARIO_KEYS,
} kiln_scenario_key;

extern const kiln_key kiln_scenario_keys[KILN_SCENARIO_KEYS + 1];

typedef struct kiln_scenario {
    const char *id; /* the section's name; of [scenario] the file's, without .ini */
    kiln_place place;
    kiln_value values[KILN_SCENARIO_KEYS];
    kiln_place places[KILN_SCENARIO_KEYS]; /* line 0: not given */
} kiln_scenario;

static inline const char *kiln_scenario_text(const kiln_scenario *scenario,
                                             kiln_scenario_key key)
{
    const char *text = scenario->values[key].text;
    return text != NULL && text[0] != '\0' ? text : NULL;
}
/* Words of a list; never NULL. */
const char *const *kiln_scenario_words(const kiln_scenario *scenario, kiln_scenario_key key);

typedef struct kiln_scenarios {
    kiln_arena arena;
    kiln_scenario **list;
    size_t count;
} kiln_scenarios;

#define KILN_SCENARIOS_INIT                                                                    \
    {                                                                                          \
        .count = 0                                                                             \
    }

/* Adds those of a file, or of every *.ini of a folder (not of folders in it), by name.
 * -EINVAL "FILE:LINE: what, what to do"; -ENOENT: a folder without any. */
int kiln_scenarios_read(kiln_scenarios *scenarios, const char *path, kiln_error *err);
/* The same of text in memory, for tests and fuzzing; paths begin at /. */
int kiln_scenarios_read_memory(kiln_scenarios *scenarios, const char *label, const char *data,
                               size_t length, kiln_error *err);
void kiln_scenarios_free(kiln_scenarios *scenarios);
/* Every key with its help, as an INI file. Caller frees. */
char *kiln_scenarios_reference(void);

#endif
