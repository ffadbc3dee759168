/* device.c - see device.h. */
#include "device.h"

#include <stdlib.h>
#include <string.h>

typedef struct Field {
	const char *name;
	size_t at;
	bool optional;
} Field;

#define FIELD(name, optional) {#name, offsetof(Device, name), optional}

static const Field fields[] = {
	FIELD(memory_bytes, false), FIELD(reserve_bytes, false), FIELD(flops, false), FIELD(memory_rate, true),
	FIELD(launch_us, true), FIELD(link_bytes, false), FIELD(link_us, false),
};

static const char *read_line(Device *out, char *line, bool *seen)
{
	char *equals = strchr(line, '='), *end;
	line[strcspn(line, "#")] = 0;
	if (!line[strspn(line, " \t\r")])
		return NULL;
	if (!equals)
		return "a line is `key = value`";
	*equals = 0;
	char *key = line + strspn(line, " \t");
	key[strcspn(key, " \t")] = 0;
	for (size_t i = 0; i < LEN(fields); i++) {
		if (strcmp(fields[i].name, key) != 0)
			continue;
		double x = strtod(equals + 1, &end);
		if (end == equals + 1 || end[strspn(end, " \t\r")] || !(x >= 0) || x > 1e30)
			return "a value is a number that is not negative";
		*(double *)((char *)out + fields[i].at) = x;
		seen[i] = true;
		return NULL;
	}
	return "unknown key; a device has memory_bytes, reserve_bytes, flops, memory_rate, launch_us, link_bytes, link_us";
}

bool device_load(Arena *a, Diag *d, Span at, const char *path, Device *out)
{
	size_t n = 0;
	char *text = diag_read(d, a, at, "the device file ", path, &n);
	bool seen[LEN(fields)] = {false};
	if (!text)
		return false;
	uint32_t file = diag_add_source(d, path, arena_strndup(a, text, n), (uint32_t)n);
	const char *base = strrchr(path, '/');
	*out = (Device){.name = base ? base + 1 : path};
	for (char *line = text, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		Span here = {file, (uint32_t)(line - text), (uint32_t)(line - text) + 1};
		const char *wrong = read_line(out, line, seen);
		if (wrong) {
			diag_error(d, here, "%s", wrong);
			return false;
		}
	}
	for (size_t i = 0; i < LEN(fields); i++) {
		if (seen[i] || fields[i].optional)
			continue;
		diag_error(d, (Span){0}, "%s: `%s` is missing", path, fields[i].name);
		return false;
	}
	return true;
}
