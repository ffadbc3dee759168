/* test_kernels.c - every template of the cuda target compiles for sm_90a at the sizes it is meant for,
 * without spills and local memory, within the registers its head promises, with the instructions that
 * decide its speed.
 *
 *     test_kernels TEMPLATES LIST
 *
 * A line of LIST: template, most registers per thread, instructions that its PTX must hold (comma
 * between, - for none), then macro definitions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/emit/nvrtc.h"

enum { SKIPPED = 77, LINE = 500 };

/* What a line of the list says. */
typedef struct Case {
	char file[LINE], ptx[LINE];
	int registers;
	const char *definitions;
} Case;

static int failures;

static void fail(const Case *c, const char *why, const char *more)
{
	failures++;
	fprintf(stderr, "%s%s%s: %s %s\n", c->file, *c->definitions ? " " : "", c->definitions, why, more);
}

/* "A=1 B=x" to lines of #define, before the line that includes the template. */
static void write_source(const Case *c, char source[2 * LINE])
{
	char copy[LINE], *rest = NULL;
	int n = 0;
	snprintf(copy, sizeof copy, "%s", c->definitions);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		char *value = strchr(word, '=');
		if (value)
			*value++ = 0;
		n += snprintf(source + n, (size_t)(2 * LINE - n), "#define %s %s\n", word, value ? value : "1");
	}
	snprintf(source + n, (size_t)(2 * LINE - n), "#include \"%s\"\n", c->file);
}

static void check_instructions(const Case *c, const NvrtcJob *j)
{
	char copy[LINE], *rest = NULL;
	snprintf(copy, sizeof copy, "%s", c->ptx);
	for (char *word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
		if (strcmp(word, "-") != 0 && !strstr(j->ptx, word))
			fail(c, "no instruction", word);
}

static void check_kernel(const Case *c, const char *templates)
{
	const char *const include[] = {templates, NULL};
	char source[2 * LINE], why[200], used[40];
	write_source(c, source);
	NvrtcJob j = {.name = "kernel.cu", .source = source, .include = include};
	if (!nvrtc_compile(&j)) {
		fail(c, "does not compile:", j.log);
	} else {
		int registers = j.nkernel == 1 ? j.kernels[0].registers : -1;
		snprintf(used, sizeof used, "%d", registers);
		if (registers < 0)
			fail(c, "is not one kernel", "");
		else if (!nvrtc_clean(&j, why))
			fail(c, "is not clean:", why);
		else if (registers > c->registers)
			fail(c, "takes more registers:", used);
		if (strstr(j.log, "serialized"))
			fail(c, "has wgmma that wait for each other:", j.log);
		check_instructions(c, &j);
		printf("%s %s: %d registers, %.1f s\n", c->file, c->definitions, registers, j.seconds);
	}
	nvrtc_free(&j);
}

int main(int argc, char **argv)
{
	char err[400], line[LINE];
	int major, minor;
	FILE *list = argc == 3 ? fopen(argv[2], "r") : NULL;
	if (!list)
		return 2;
	if (!nvrtc_version(&major, &minor, err)) {
		printf("%s\n", err);
		fclose(list);
		return SKIPPED;
	}
	while (fgets(line, sizeof line, list)) {
		Case c = {.definitions = ""};
		int end = 0;
		line[strcspn(line, "\n")] = 0;
		if (!*line || *line == '#')
			continue;
		if (sscanf(line, "%499s %d %499s %n", c.file, &c.registers, c.ptx, &end) < 3)
			return 2;
		c.definitions = line + end;
		check_kernel(&c, argv[1]);
	}
	fclose(list);
	return failures != 0;
}
