/* host_cc.h - the system C compiler: kernels to objects, objects to the image that ranks share.
 *
 * Both are content-addressed in the kernel cache (cache.h): the key is the source, the template files
 * it includes, the flags and the compiler's version.
 */
#ifndef GLMC_HOST_CC_H
#define GLMC_HOST_CC_H

#include "../base/diag.h"
#include "../pass/fn.h"

typedef struct HostCc {
	Arena *a;
	Diag *d;
	const char *cc;          /* $CC, else cc */
	const char *templates;   /* folder of templates/host */
	const char *runtime;     /* folder of rt_kernel.h */
	const char *library;     /* libglmc_rt.a */
	const char *link_flags;  /* of the runtime: MPI, threads, mathematics */
	const char *edited;      /* folder of edited sources, or NULL; set after host_cc_init */
	const char *cache;
	char key[33];            /* of compiler, flags and template files */
	uint32_t compiled, cached;
	int jobs;                /* compiler processes at a time */
	bool quiet;
	bool full;               /* the disk is: why the last call failed */
} HostCc;

/* host_cc_flags - those that kernels are compiled with, apart from include paths. */
const char *host_cc_flags(Arena *a);

/* host_cc_init - finds compiler, templates and cache. False after a message: exit status 3. */
bool host_cc_init(HostCc *h, Arena *a, Diag *d, const char *templates, const char *runtime,
                  const char *library, const char *link_flags);

/* host_cc_objects - compiles what the cache lacks; objects[i] is the path of kernel i's object.
 * False after a message that shows the compiler's output and the model line of the kernel: exit status
 * 3, or 7 when `full`. */
bool host_cc_objects(HostCc *h, const KernelSet *ks, const char **objects);

/* host_cc_image - links objects and runtime to an executable without a program; its path in the
 * cache, or NULL after a message. */
const char *host_cc_image(HostCc *h, const KernelSet *ks, const char *const *objects);

#endif
