/* test_elem.c - elem.h and the bf16 part of lanes.h: every bf16 to a float and back; floats of every exponent to
 * the nearest bf16; vectors give the bits of scalars.
 */
#include "lanes.h"

#include "elems.h"

enum { LOW = 64, SAMPLES = 512 * LOW };

static uint32_t bits_of(float x)
{
	uint32_t u;

	memcpy(&u, &x, sizeof u);
	return u;
}

static float float_from(uint32_t u)
{
	float x;

	memcpy(&x, &u, sizeof x);
	return x;
}

/* Ties that end even and odd, numbers beside them, what overflows, denormal numbers, infinities, NaN. */
static void test_cases(void)
{
	static const uint32_t cases[][2] = {
		{ 0x3f808000, 0x3f800000 }, { 0x3f808001, 0x3f810000 }, { 0x3f817fff, 0x3f810000 },
		{ 0x3f818000, 0x3f820000 }, { 0xbfff8000, 0xc0000000 }, { 0x7f7f7fff, 0x7f7f0000 },
		{ 0x7f7f8000, 0x7f800000 }, { 0xff7fffff, 0xff800000 }, { 0x00008000, 0x00000000 },
		{ 0x80018000, 0x80020000 }, { 0x007f8000, 0x00800000 }, { 0xff800000, 0xff800000 },
		{ 0x7f800001, 0x7fc00000 }, { 0xffffffff, 0x7fc00000 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (bits_of(rounded(float_from(cases[i][0]))) != cases[i][1])
			check_fail("rounded, case", i, bits_of(rounded(float_from(cases[i][0]))), cases[i][1]);
}

static void test_patterns(void)
{
	static bf16 all[65536];

	for (uint32_t u = 0; u < 65536; u++)
		all[u] = (bf16){ (uint16_t)u };
	for (uint32_t u = 0; u < 65536; u++) {
		const Vf v = v_get((const bf16 *)all + u / VW * VW);
		if (bits_of(elem_get(all[u])) != u << 16 || bits_of(v[u % VW]) != u << 16)
			check_fail("float_of", u, (double)elem_get(all[u]), (double)v[u % VW]);
		if (bf16_of(float_of(all[u])).upper != u)
			check_fail("bf16_of", u, bf16_of(float_of(all[u])).upper, u);
	}
}

/* Floats of every sign and exponent: around a tie, at the ends, and any. */
static void test_samples(void)
{
	static const uint32_t edge[] = { 0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x18000, 0x7f7fff, 0x7f8000, 0x7fffff };
	static float x[SAMPLES], lanes[SAMPLES];
	static bf16 one[SAMPLES], many[SAMPLES];

	for (uint32_t i = 0; i < SAMPLES; i++) {
		uint32_t low = i % LOW < sizeof edge / sizeof *edge ? edge[i % LOW] : check_random() >> 9;
		x[i] = float_from(i / LOW << 23 | low);
	}
	for (size_t i = 0; i < SAMPLES; i += VW) {
		v_store(lanes + i, v_rounded(v_load(x + i)));
		v_put(many + i, v_load(x + i));
	}
	for (size_t i = 0; i < SAMPLES; i++) {
		float r = rounded(x[i]), want = (float)nearest((double)x[i], 1);
		elem_put(one + i, x[i]);
		if (isnan(want) ? !isnan(r) : bits_of(r) != bits_of(want))
			check_fail("rounded", i, (double)r, (double)want);
		if (bits_of(r) != (uint32_t)one[i].upper << 16)
			check_fail("elem_put", i, (double)elem_get(one[i]), (double)r);
		if (bits_of(lanes[i]) != bits_of(r) || many[i].upper != one[i].upper)
			check_fail("v_rounded, v_put", i, (double)lanes[i], (double)r);
	}
}

int main(void)
{
	test_cases();
	test_patterns();
	test_samples();
	return check_done("elements");
}
