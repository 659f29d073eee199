/* task.h - a scenario with everything that running it needs, read and fetched before the
 * engine is opened. Thread: any, one at a time. */
#ifndef KILN_EVAL_TASK_H
#define KILN_EVAL_TASK_H

#include "base/buffer.h"
#include "config/config.h"
#include "connection/inputs.h"
#include "eval/normal.h"
#include "eval/scenario.h"
#include "notebook/ipynb.h"

typedef struct kiln_task {
    const kiln_scenario *scenario;
    kiln_inputs inputs;   /* the source of truth among them */
    const char *language; /* borrowed */
    kiln_buffer code;
    kiln_ipynb *notebook; /* or NULL: code */
    json_t *instruct;     /* what the chain's `instruct` is given, or NULL: there is code */
    kiln_buffer stdin_data;
    kiln_normal *normal;
} kiln_task;

/* -EINVAL and the like with the scenario's place. kiln_task_free in any case. `notice` as
 * in kiln_inputs. */
int kiln_task_prepare(kiln_task *task, const kiln_scenario *scenario, const kiln_config *config,
                      void (*notice)(void *user, const char *text), void *user,
                      kiln_error *err);
void kiln_task_free(kiln_task *task);

#endif
