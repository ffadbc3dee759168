/* fuzz_rp.c - a rank program in text form.
 *
 * Holds: what is read prints to a text that reads back the same. A program of one pipeline rank is also
 * verified: it may be wrong, but is never a surprise.
 */
#include "compiler/plan/verify.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[200] = "";
	RtProg *p = rt_prog_read((const char *)data, size, err);
	HOLDS(p ? 1 : err[0] != 0);
	if (!p)
		return 0;
	size_t n = 0, m = 0;
	char *once = rt_prog_print(p, &n);
	RtProg *again = rt_prog_read(once, n, err);
	HOLDS(again);
	char *twice = rt_prog_print(again, &m);
	HOLDS(n == m && memcmp(once, twice, n) == 0);
	if (p->pp == 1) {
		Arena *a = arena_new();
		const RtProg *all[] = {p};
		(void)verify_programs(a, all, 1);
		arena_free(a);
	}
	free(once);
	free(twice);
	rt_prog_free(p);
	rt_prog_free(again);
	return 0;
}
