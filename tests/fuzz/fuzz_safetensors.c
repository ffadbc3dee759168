/* fuzz_safetensors.c - the header of a checkpoint file.
 *
 * Holds: the data of every tensor lies in the file.
 */
#include "fuzz.h"
#include "runtime/rt_safetensors.h"

enum { DATA = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[RT_ST_ERR] = "";
	RtSt *s = calloc(1, sizeof *s);
	if (!s)
		return 0;
	uint64_t file_bytes = 8 + size + DATA;
	bool ok = rt_st_parse(s, 0, (const char *)data, size, file_bytes, err);
	HOLDS(ok == !err[0]);
	for (int64_t i = 0; i < s->n; i++) {
		const RtStTensor *t = &s->tensors[i];
		HOLDS(t->begin >= 8 + size && t->begin <= file_bytes && t->elems >= 0 && t->ndim >= 0 && t->ndim <= 8);
		HOLDS((uint64_t)t->elems <= file_bytes - t->begin);
	}
	rt_st_free(s);
	return 0;
}
