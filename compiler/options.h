/* options.h - the command line of glmc. */
#ifndef GLMC_OPTIONS_H
#define GLMC_OPTIONS_H

#include "base/vec.h"

#include <stdbool.h>

typedef struct Override {
	const char *key, *value; /* --key=value, --key value, or --key (value "true") */
} Override;

typedef struct Options {
	const char *command;     /* "build", "check", ... */
	VEC(const char *) operands;
	VEC(Override) overrides; /* of the recipe, in order */
	int argc;                /* as given */
	char **argv;
	VEC(const char *) rest;  /* run: everything after the folder, for the ranks */
	const char *recipe, *config, *target, *arch, *out, *dump, *stop_after, *from, *tune, *kernels;
	const char *letters;     /* -d<letters>: passes whose result is printed */
	long world;              /* 0: not given */
	bool json, lineinfo, tiles, quiet, time, passes, keys, help, version;
} Options;

/* options_parse - false after a message on stderr: exit status 2. */
bool options_parse(Arena *a, Options *o, int argc, char **argv);

void options_help(void);

/* usage_error - "glmc: ..." and where to read on; false. unknown_option - the same for --name, with what
 * it was meant to be. */
bool usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool unknown_option(const char *name);

#endif
