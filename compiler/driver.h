/* driver.h - reads the inputs and runs the table of passes. */
#ifndef GLMC_DRIVER_H
#define GLMC_DRIVER_H

#include "comp.h"

/* comp_new - empty state; finds glmc's own files. */
Comp *comp_new(Arena *a, const Options *o);

/* driver_read - recipe with overrides, mesh, config.json, dtypes, device. False after diag_error. */
bool driver_read(Comp *c);

/* driver_run - passes up to and including `last`; prints, dumps and times as the options say. */
bool driver_run(Comp *c, const char *last);

/* driver_status - exit status after a failure. */
int driver_status(const Comp *c);

/* driver_passes - prints the table. */
void driver_passes(void);

/* driver_default_mesh - one rank, documents of any usual length: without a recipe. */
void driver_default_mesh(Comp *c);

/* The commands (commands.c, plan_text.c, from_text.c): exit status. */
int command_build(Comp *c, const char *last);
int command_plan(Comp *c);
int command_check_text(Comp *c);
int command_run(const Options *o);
int command_doctor(const Comp *c);
int command_inspect(const Options *o);
int command_repro(Arena *a, const Options *o);
int command_report(const Comp *c);

/* plan_json - the plan in the form of `glmc plan --json`. */
void plan_json(const Comp *c, Text *t);

#endif
