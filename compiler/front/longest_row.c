/* longest_row.c - see longest_row.h. Only `input_ids` is counted; what else is wrong with a row is found
 * by the ranks, which read it (runtime/rt_data.c). */
#include "longest_row.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../runtime/rt_scan.h"

static int64_t count_list(RtScan *s)
{
	int64_t n = 0;
	for (bool item = rt_scan_open(s, '['); item; item = rt_scan_next(s, ']'))
		n += rt_scan_skip(s);
	return n;
}

/* Tokens of a row; -1 when it has none or is damaged (s->error). */
static int64_t row_length(RtScan *s)
{
	char key[64];
	int64_t n = -1;
	for (bool more = rt_scan_open(s, '{'); more; more = rt_scan_next(s, '}')) {
		if (!rt_scan_key(s, key, sizeof key))
			break;
		if (strcmp(key, "input_ids") == 0)
			n = count_list(s);
		else if (!rt_scan_skip(s))
			break;
	}
	return s->error ? -1 : n;
}

static bool read_line(Diag *d, Span at, const char *path, long long number, const char *line, size_t n,
                      int64_t *longest)
{
	RtScan s = rt_scan(line, n);
	if (rt_scan_end(&s))
		return true;
	int64_t count = row_length(&s);
	*longest = count > *longest ? count : *longest;
	if (s.error)
		diag_error(d, at, "%s:%lld: byte %zu: %s", path, number, s.at + 1, s.error);
	else if (count < 0)
		diag_error(d, at, "%s:%lld: a row needs `input_ids`", path, number);
	return count >= 0;
}

int64_t longest_row(Diag *d, Span at, const char *path)
{
	FILE *f = fopen(path, "rb");
	char *line = NULL;
	size_t cap = 0;
	int64_t longest = 0;
	long long number = 0;
	bool ok = f != NULL;
	if (!ok)
		diag_error(d, at, "cannot read the dataset %s: %s", path, strerror(errno));
	for (ssize_t n; ok && (n = getline(&line, &cap, f)) > 0;)
		ok = read_line(d, at, path, ++number, line, (size_t)n, &longest);
	if (ok && longest == 0)
		diag_error(d, at, "the dataset %s has no tokens", path);
	free(line);
	if (f)
		fclose(f);
	return ok ? longest : 0;
}
