/* edited.c - see edited.h. */
#include "edited.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/file.h"

/* The kernel of the same readable name, when the hash alone differs. */
static const char *same_stem(const KernelSet *ks, const char *name)
{
	size_t n = strlen(name);
	for (uint32_t i = 0; n > 9 && i < ks->kernels.n; i++) {
		const char *k = ks->kernels.v[i].name;
		if (strlen(k) == n && strncmp(k, name, n - 8) == 0)
			return k;
	}
	return NULL;
}

static bool is_unknown(Diag *d, const KernelSet *ks, const char *path, const char *name)
{
	const char *near = same_stem(ks, name);
	diag_error(d, (Span){0}, "%s matches no kernel of this build", path);
	if (near)
		diag_help(d, "it was made for other parameters; this build has %s: carry the change over to that one's source",
		          near);
	else
		diag_help(d, "files are named after the kernels that `glmc inspect` lists");
	return false;
}

static bool take(Arena *a, Diag *d, KernelSet *ks, const char *path, const char *name)
{
	int64_t at = 0;
	if (!map_get(&ks->index, name, &at))
		return is_unknown(d, ks, path, name);
	char *text = diag_read(d, a, (Span){0}, "", path, NULL);
	if (!text)
		return false;
	if (!strstr(text, name)) {
		diag_error(d, (Span){0}, "%s does not define kernel %s", path, name);
		return false;
	}
	ks->kernels.v[at].source = text;
	return true;
}

bool edited_take(Arena *a, Diag *d, KernelSet *ks, const char *dir, const char *suffix)
{
	struct dirent **files = NULL;
	int n = scandir(dir, &files, NULL, alphasort);
	size_t tail = strlen(suffix);
	bool ok = n >= 0;
	if (n < 0)
		diag_error(d, (Span){0}, "cannot read the folder %s: %s", dir, strerror(errno));
	for (int i = 0; i < n; i++) {
		const char *file = arena_strdup(a, files[i]->d_name);
		size_t size = strlen(file);
		if (size > tail && strcmp(file + size - tail, suffix) == 0)
			ok &= take(a, d, ks, path_join(a, dir, file), arena_strndup(a, file, size - tail));
		free(files[i]);
	}
	free(files);
	return ok;
}
