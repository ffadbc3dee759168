/* report.c - `glmc report`: plan, manifest and kernel sources of a build folder set into
 * templates/report.html, whose script draws them. The page needs nothing else. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../runtime/rt_scan.h"
#include "base/file.h"
#include "base/status.h"
#include "driver.h"

/* JSON inside a script element: `<`, which stands in strings alone, must not end the element. */
static void put_json(Text *t, const char *s)
{
	for (; *s; s++) {
		if (*s == '<')
			text_add(t, "\\u003c");
		else
			text_put(t, s, 1);
	}
}

static bool add_source(Arena *a, const char *dir, const char *name, const char *file, Text *t)
{
	const char *path = path_join(a, dir, file);
	char *text = file_read(a, path, NULL);
	if (!text) {
		fprintf(stderr, "glmc: error: cannot read %s, the source of kernel %s: %s\nhelp: build again\n", path, name,
		        strerror(errno));
		return false;
	}
	text_add(t, "%s", t->n > 1 ? ",\n" : "");
	text_json(t, name);
	text_add(t, ": ");
	text_json(t, text);
	return true;
}

/* One kernel of the manifest: its name and source file. */
static bool read_kernel(Arena *a, RtScan *s, const char *dir, Text *t)
{
	char key[64], name[256] = "", source[300] = "";
	for (bool more = rt_scan_open(s, '{'); more; more = rt_scan_next(s, '}')) {
		if (!rt_scan_key(s, key, sizeof key))
			return false;
		bool ok = strcmp(key, "name") == 0     ? rt_scan_string(s, name, sizeof name)
		          : strcmp(key, "source") == 0 ? rt_scan_string(s, source, sizeof source)
		                                       : rt_scan_skip(s);
		if (!ok)
			return false;
	}
	return add_source(a, dir, name, source, t);
}

/* {"kernel": "source", ...} */
static bool add_sources(Arena *a, RtScan *s, const char *dir, Text *t)
{
	char key[64];
	text_add(t, "{");
	for (bool more = rt_scan_open(s, '{'); more; more = rt_scan_next(s, '}')) {
		if (!rt_scan_key(s, key, sizeof key))
			return false;
		if (strcmp(key, "kernels") != 0) {
			rt_scan_skip(s);
			continue;
		}
		for (bool item = rt_scan_open(s, '['); item; item = rt_scan_next(s, ']'))
			if (!read_kernel(a, s, dir, t))
				return false;
	}
	text_add(t, "}");
	return !s->error;
}

/* False after a message. */
static bool sources(Arena *a, const char *dir, const char *manifest, Text *t)
{
	RtScan s = rt_scan(manifest, strlen(manifest));
	bool ok = add_sources(a, &s, dir, t);
	if (s.error)
		fprintf(stderr, "glmc: error: %s: byte %zu: %s\nhelp: build again\n", path_join(a, dir, "manifest.json"), s.at,
		        s.error);
	return ok;
}

/* Copies `page` with the three marks, each followed by `null`, replaced. */
static void fill(Text *out, const char *page, const char *plan, const char *manifest, const char *source)
{
	const struct { const char *mark, *value; } marks[] = {
		{"/*PLAN*/null", plan}, {"/*MANIFEST*/null", manifest}, {"/*SOURCES*/null", source},
	};
	for (size_t k = 0; k < LEN(marks); k++) {
		const char *hit = strstr(page, marks[k].mark);
		if (!hit)
			ice("report.html has no %s", marks[k].mark);
		text_put(out, page, (size_t)(hit - page));
		put_json(out, marks[k].value);
		page = hit + strlen(marks[k].mark);
	}
	text_add(out, "%s", page);
}

int command_report(const Comp *c)
{
	Arena *a = c->arena;
	const char *dir = c->opt->operands.v[0], *to = c->opt->out ? c->opt->out : "report.html";
	char *plan = file_read(a, path_join(a, dir, "plan.json"), NULL);
	char *manifest = file_read(a, path_join(a, dir, "manifest.json"), NULL);
	char *page = file_read(a, path_join(a, c->install.templates, "report.html"), NULL);
	Text source = {0}, out = {0};
	if (!plan || !manifest) {
		fprintf(stderr, "glmc: error: %s is no build folder: it lacks plan.json or manifest.json\n"
		                "help: make one with `glmc build`\n", dir);
		return ST_INPUT;
	}
	if (!page) {
		fprintf(stderr, "glmc: error: report.html is not installed\n");
		return ST_ENV;
	}
	if (!sources(a, dir, manifest, &source)) {
		text_free(&source);
		return ST_INPUT;
	}
	fill(&out, page, plan, manifest, source.s);
	bool ok = file_write(to, out.s, out.n, false);
	if (!ok)
		fprintf(stderr, "glmc: error: cannot write %s: %s\n", to, strerror(errno));
	text_free(&source);
	text_free(&out);
	return ok ? ST_OK : ST_MEMORY;
}
