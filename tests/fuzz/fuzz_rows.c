/* fuzz_rows.c - a file of training rows, as a rank reads it and as the compiler measures it.
 *
 * Holds: what a rank accepts has tokens of the vocabulary only, and the compiler finds the same longest
 * row.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "compiler/front/longest_row.h"
#include "fuzz.h"
#include "runtime/rt_data.h"

enum { VOCABULARY = 100, ROW = 4096 };

static int64_t most_tokens(RtData *d)
{
	RtBatch b;
	int64_t most = 0, steps = rt_data_steps(d);
	HOLDS(rt_batch_init(&b, 1, 1, ROW));
	for (int64_t s = 0; s < steps; s++) {
		rt_data_step(d, s, &b);
		HOLDS(b.tokens[0] >= 1 && b.tokens[0] <= ROW);
		most = b.tokens[0] > most ? b.tokens[0] : most;
		for (int64_t k = 0; k < b.tokens[0]; k++) {
			HOLDS(b.ids[k] >= 0 && b.ids[k] < VOCABULARY);
			HOLDS(b.labels[k] == -100 || (b.labels[k] >= 0 && b.labels[k] < VOCABULARY));
		}
	}
	void *all[] = {b.tokens, b.ndoc, b.cu, b.pos, b.ids, b.labels};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free(all[i]);
	return most;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64], err[400] = "";
	int fd = memfd_create("rows", 0);
	HOLDS(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	RtDataOptions o = {.path = path, .seq_max = ROW, .vocab = VOCABULARY, .dp = 1, .docs = 1, .mbs = 1, .runs = 1};
	RtData *d = rt_data_open(&o, err);
	HOLDS(d ? 1 : err[0] != 0);
	Arena *a = arena_new();
	Diag *diag = diag_new(a);
	diag_quiet(diag);
	int64_t longest = longest_row(diag, (Span){0}, path);
	if (d)
		HOLDS(longest == most_tokens(d));
	rt_data_free(d);
	arena_free(a);
	close(fd);
	return 0;
}
