/* build_stale.c - see build_stale.h. */
#include "build_stale.h"

#include <string.h>
#include <unistd.h>

#include "../../runtime/rt_scan.h"
#include "../base/file.h"
#include "../base/vec.h"

/* A manifest may be anything: only what glmc writes is removed. */
static bool is_ours(const char *name)
{
	static const char *const kinds[] = {"rank-", "kernels/", "programs/", "launch."};
	for (size_t i = 0; i < LEN(kinds); i++) {
		size_t n = strlen(kinds[i]);
		if (strncmp(name, kinds[i], n) == 0 && !strchr(name + n, '/'))
			return true;
	}
	return false;
}

static void remove_files(const BuildDir *b, RtScan *s)
{
	char name[256];
	for (bool more = rt_scan_open(s, '['); more; more = rt_scan_next(s, ']'))
		if (rt_scan_string(s, name, sizeof name) && is_ours(name) && !map_get(b->written, name, NULL))
			unlink(path_join(b->a, b->dir, name));
}

void build_stale_remove(const BuildDir *b)
{
	size_t size = 0;
	const char *text = file_read(b->a, path_join(b->a, b->dir, "manifest.json"), &size);
	RtScan s = rt_scan(text ? text : "", size);
	char key[64];
	for (bool more = rt_scan_open(&s, '{'); more; more = rt_scan_next(&s, '}')) {
		if (!rt_scan_key(&s, key, sizeof key))
			return;
		if (strcmp(key, "files") == 0)
			remove_files(b, &s);
		else
			rt_scan_skip(&s);
	}
}
