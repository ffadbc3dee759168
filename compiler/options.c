/* options.c - see options.h. A `--word` that is no option of glmc overrides the recipe. */
#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"

enum { MAX_NUMBER = 1 << 20 };

typedef enum Kind { TEXT, NUMBER, FLAG } Kind;

typedef struct OptionInfo {
	const char *name;
	Kind kind;
	const char *argument, *doc;
	size_t field;
} OptionInfo;

static const OptionInfo table[] = {
#define OPTION(name, field, kind, argument, doc) {name, kind, argument, doc, offsetof(Options, field)},
#include "options.def"
#undef OPTION
};

static const char *const commands[] = {"build", "check", "plan", "inspect", "repro", "report", "run", "doctor"};

void options_help(void)
{
	printf("usage: glmc build MODEL.glm --recipe R.yaml [--config config.json] [options] [--key=value ...]\n"
	       "       glmc check MODEL.glm [--recipe R.yaml]   parse, type, plan, verify; writes nothing\n"
	       "       glmc check --from=rp|gir FILE...         the text forms, verified\n"
	       "       glmc plan MODEL.glm --recipe R.yaml      stages, schedule, memory, traffic, predicted time\n"
	       "       glmc inspect DIR [KERNEL]                kernels of a build folder\n"
	       "       glmc repro DIR KERNEL                    a test of one kernel alone against the interpreter\n"
	       "       glmc report DIR -o report.html           the plan and kernels as one self-contained page\n"
	       "       glmc run DIR [options]                   launch all ranks here\n"
	       "       glmc doctor                              what this machine has and lacks\n\noptions:\n");
	for (size_t i = 0; i < LEN(table); i++) {
		char left[48];
		snprintf(left, sizeof left, "--%s%s%s", table[i].name, table[i].argument ? " " : "",
		         table[i].argument ? table[i].argument : "");
		printf("  %-24s %s\n", left, table[i].doc);
	}
	printf("  %-24s %s\n", "-d LETTERS", "print the program after these passes to stderr (see --passes)");
	printf("  %-24s %s\n", "--a.b.c=value", "override a key of the recipe (see --keys)");
	printf("\nexit status: 0 done, 1 wrong input, 2 wrong usage, 3 environment, 4 data or checkpoint,\n"
	       "5 communication, 6 not finite, 7 out of memory or disk, 70 a fault of glmc\n");
}

static const OptionInfo *find_option(const char *name, size_t n)
{
	for (size_t i = 0; i < LEN(table); i++)
		if (strlen(table[i].name) == n && strncmp(table[i].name, name, n) == 0)
			return &table[i];
	return NULL;
}

bool usage_error(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "glmc: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\nhelp: `glmc --help` lists commands and options\n");
	va_end(ap);
	return false;
}

bool unknown_option(const char *name)
{
	const char *names[LEN(table)];
	for (size_t i = 0; i < LEN(table); i++)
		names[i] = table[i].name;
	const char *near = closest(name, names, LEN(table));
	if (!near)
		return usage_error("unknown option --%s", name);
	fprintf(stderr, "glmc: unknown option --%s\nhelp: did you mean `--%s`?\n", name, near);
	return false;
}

/* Is `value` one of `a|b|c`? */
static bool among(const char *choices, const char *value)
{
	size_t n = strlen(value);
	for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
		if (n && strcspn(at, "|") == n && strncmp(at, value, n) == 0)
			return true;
	return false;
}

/* The templates hold instructions of one architecture. */
static bool check_arch(const char *arch)
{
	if (!arch || strcmp(arch, "sm_90a") == 0)
		return true;
	fprintf(stderr, "glmc: --arch is sm_90a (H100, H200), not `%s`\n"
	                "help: leave it out; `--target host` builds for the processor of this machine\n", arch);
	return false;
}

static bool set_option(Options *o, const OptionInfo *info, const char *value)
{
	char *field = (char *)o + info->field, *end;
	if (info->kind == FLAG) {
		*(bool *)field = true;
		return true;
	}
	if (info->kind == TEXT) {
		*(const char **)field = value;
		return !strchr(info->argument, '|') || among(info->argument, value) ||
		       usage_error("--%s is one of %s, not `%s`", info->name, info->argument, value);
	}
	long number = strtol(value, &end, 10);
	*(long *)field = number;
	return (!*end && end != value && number > 0 && number <= MAX_NUMBER) ||
	       usage_error("--%s is a number from 1 to %d, not `%s`", info->name, MAX_NUMBER, value);
}

static bool long_option(Arena *a, Options *o, int argc, char **argv, int *at)
{
	const char *text = argv[*at] + 2, *equals = strchr(text, '=');
	size_t n = equals ? (size_t)(equals - text) : strlen(text);
	const OptionInfo *info = find_option(text, n);
	const char *value = equals ? equals + 1 : NULL;
	bool follows = *at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0;
	if (info && info->kind == FLAG)
		return value ? usage_error("--%s takes no value", info->name) : set_option(o, info, NULL);
	if (!value && follows)
		value = argv[++*at];
	if (info)
		return value ? set_option(o, info, value) : usage_error("--%s needs a value", info->name);
	vec_push(a, &o->overrides, ((Override){arena_strndup(a, text, n), value ? value : "true"}));
	return true;
}

static bool short_option(Options *o, int argc, char **argv, int *at)
{
	const char *text = argv[*at];
	if (strcmp(text, "-q") == 0) {
		o->quiet = true;
	} else if (strcmp(text, "-h") == 0) {
		o->help = true;
	} else if (text[1] == 'o' || text[1] == 'd') {
		const char *value = text[2] ? text + 2 : *at + 1 < argc ? argv[++*at] : NULL;
		if (!value)
			return usage_error("%s needs a value", text);
		*(text[1] == 'o' ? &o->out : &o->letters) = value;
	} else {
		return usage_error("unknown option %s", text);
	}
	return true;
}

bool options_parse(Arena *a, Options *o, int argc, char **argv)
{
	*o = (Options){.argc = argc, .argv = argv};
	for (int i = 1; i < argc; i++) {
		bool ok = true;
		if (o->command && strcmp(o->command, "run") == 0 && o->operands.n)
			vec_push(a, &o->rest, argv[i]);
		else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2])
			ok = long_option(a, o, argc, argv, &i);
		else if (argv[i][0] == '-' && argv[i][1])
			ok = short_option(o, argc, argv, &i);
		else if (!o->command)
			o->command = argv[i];
		else
			vec_push(a, &o->operands, argv[i]);
		if (!ok)
			return false;
	}
	if (!check_arch(o->arch))
		return false;
	if (o->help || o->version || o->passes || o->keys)
		return true;
	if (!o->command)
		return usage_error("%s", "a command is missing");
	for (size_t i = 0; i < LEN(commands); i++)
		if (strcmp(commands[i], o->command) == 0)
			return true;
	const char *near = closest(o->command, commands, LEN(commands));
	fprintf(stderr, "glmc: unknown command `%s`\n", o->command);
	fprintf(stderr, near ? "help: did you mean `%s`?\n" : "help: `glmc --help` lists commands\n", near);
	return false;
}
