/* fiber.cpp - stacks, and the switch from one to another: a few instructions on x86-64, ucontext
 * elsewhere. ASan is told of every switch. */
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "core.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace simt {

#ifdef WITH_ASAN
static const size_t STACK_BYTES = 512 * 1024;
#else
static const size_t STACK_BYTES = 128 * 1024;
#endif

/* The stacks of this OS thread, each above a page that cannot be touched. */
struct Stacks {
	char *base = nullptr;
	size_t count = 0, page = 0;

	void make(size_t n)
	{
		if (n <= count)
			return;
		release();
		page = (size_t)sysconf(_SC_PAGESIZE);
		void *p = mmap(nullptr, n * (STACK_BYTES + page), PROT_READ | PROT_WRITE,
		               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED) {
			perror("simt: no memory for stacks");
			abort();
		}
		base = (char *)p;
		count = n;
		for (size_t i = 0; i < n; i++)
			mprotect(base + i * (STACK_BYTES + page), page, PROT_NONE);
	}

	void release()
	{
		if (base)
			munmap(base, count * (STACK_BYTES + page));
		base = nullptr;
		count = 0;
	}

	~Stacks() { release(); }
};

static thread_local Stacks stacks;

void fiber_stacks(std::vector<Thread> &threads)
{
	stacks.make(threads.size());
	for (size_t i = 0; i < threads.size(); i++) {
		threads[i].fiber.stack = stacks.base + i * (STACK_BYTES + stacks.page) + stacks.page;
		threads[i].fiber.size = STACK_BYTES;
#ifdef WITH_ASAN
		/* fibers that ended left their frames' red zones */
		ASAN_UNPOISON_MEMORY_REGION(threads[i].fiber.stack, STACK_BYTES);
#endif
	}
}

#if defined(__x86_64__)

extern "C" void simt_switch(void **from, void *to);
asm(".text\n"
    ".globl simt_switch\n"
    ".type simt_switch,@function\n"
    "simt_switch:\n"
    "	push %rbp\n	push %rbx\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
    "	mov %rsp,(%rdi)\n"
    "	mov %rsi,%rsp\n"
    "	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbx\n	pop %rbp\n"
    "	ret\n"
    ".size simt_switch,.-simt_switch\n");

/* Six saved registers, the entry as return address, and a null return address of its own: the stack
 * pointer is 8 modulo 16 when the entry starts, as after a call. */
void fiber_start(Fiber *f, void (*entry)())
{
	void **sp = (void **)(f->stack + f->size - 16);
	*--sp = nullptr;
	*--sp = (void *)entry;
	for (int i = 0; i < 6; i++)
		*--sp = nullptr;
	f->sp = sp;
}

static void jump(Fiber *from, Fiber *to)
{
	simt_switch(&from->sp, to->sp);
}

#else

static thread_local ucontext_t main_context;

/* At the top of a fiber's stack; the block's main fiber is the OS thread itself. */
static ucontext_t *context_of(Fiber *f)
{
	if (!f->sp)
		f->sp = &main_context;
	return (ucontext_t *)f->sp;
}

void fiber_start(Fiber *f, void (*entry)())
{
	size_t own = (sizeof(ucontext_t) + 63) / 64 * 64;
	f->sp = f->stack + f->size - own;
	ucontext_t *u = context_of(f);
	getcontext(u);
	u->uc_stack.ss_sp = f->stack;
	u->uc_stack.ss_size = f->size - own;
	makecontext(u, entry, 0);
}

static void jump(Fiber *from, Fiber *to)
{
	swapcontext(context_of(from), context_of(to));
}

#endif

void fiber_switch(Fiber *from, Fiber *to, bool dead)
{
#ifdef WITH_ASAN
	__sanitizer_start_switch_fiber(dead ? nullptr : &from->fake, to->stack, to->size);
	jump(from, to);
	__sanitizer_finish_switch_fiber(from->fake, nullptr, nullptr);
#else
	(void)dead;
	jump(from, to);
#endif
}

/* The first fiber of a block is entered from the OS thread's own stack, whose bounds are kept for the
 * way back. */
void fiber_entered(Fiber *main)
{
#ifdef WITH_ASAN
	const void *bottom;
	size_t size;
	__sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
	if (!main->stack) {
		main->stack = (char *)bottom;
		main->size = size;
	}
#else
	(void)main;
#endif
}

}
