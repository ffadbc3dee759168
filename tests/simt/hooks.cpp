/* hooks.cpp - plain accesses of shared memory. Kernels are compiled with -fsanitize=thread, but the
 * sanitizer's library is not linked: these functions, which the compiler calls before every access
 * of memory, are all of it. Accesses outside shared memory pass at once. */
#include <cstdint>

namespace simt {
void touch_plain(const void *p, int bytes, bool write);
}

using simt::touch_plain;

#define HOOK(n) \
	extern "C" void __tsan_read##n(void *p) { touch_plain(p, n, false); } \
	extern "C" void __tsan_write##n(void *p) { touch_plain(p, n, true); } \
	extern "C" void __tsan_unaligned_read##n(void *p) { touch_plain(p, n, false); } \
	extern "C" void __tsan_unaligned_write##n(void *p) { touch_plain(p, n, true); } \
	extern "C" void __tsan_volatile_read##n(void *p) { touch_plain(p, n, false); } \
	extern "C" void __tsan_volatile_write##n(void *p) { touch_plain(p, n, true); } \
	extern "C" void __tsan_unaligned_volatile_read##n(void *p) { touch_plain(p, n, false); } \
	extern "C" void __tsan_unaligned_volatile_write##n(void *p) { touch_plain(p, n, true); } \
	extern "C" void __tsan_read##n##_pc(void *p, void *) { touch_plain(p, n, false); } \
	extern "C" void __tsan_write##n##_pc(void *p, void *) { touch_plain(p, n, true); }

HOOK(1)
HOOK(2)
HOOK(4)
HOOK(8)
HOOK(16)

extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void **, void *) {}
extern "C" void __tsan_vptr_read(void **) {}
extern "C" void __tsan_read_range(void *p, unsigned long n) { touch_plain(p, (int)n, false); }
extern "C" void __tsan_write_range(void *p, unsigned long n) { touch_plain(p, (int)n, true); }

/* The atomics that dev.cuh uses: their access is tracked where they are called. */
extern "C" uint32_t __tsan_atomic32_fetch_add(volatile uint32_t *p, uint32_t n, int)
{
	return __atomic_fetch_add(p, n, __ATOMIC_RELAXED);
}
