/* fuzz_config.c - a config.json, as sizes and as something that is skipped. */
#include "compiler/front/config.h"
#include "fuzz.h"
#include "runtime/rt_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Arena *a = arena_new();
	Diag *d = diag_new(a);
	diag_quiet(d);
	Config *c = config_parse(a, d, "fuzz.json", (const char *)data, size);
	RtScan s = rt_scan((const char *)data, size);
	bool json = rt_scan_skip(&s) && rt_scan_end(&s);
	HOLDS(!c || json);
	for (uint32_t i = 0; c && i < c->n; i++) {
		HOLDS(c->sizes[i].name && c->sizes[i].span.begin < size);
		HOLDS(rt_json_equal(c->sizes[i].json, strlen(c->sizes[i].json), c->sizes[i].json));
	}
	arena_free(a);
	return 0;
}
