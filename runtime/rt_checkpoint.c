/* rt_checkpoint.c - the checkpoint a rank starts from: where it is, and whether it is one of this model.
 *
 * Everything is checked before the ranks meet: config.json against the sizes that the program was built
 * for, and the headers of all files against the tensors that this rank reads. Data is read later
 * (rt_weights.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "rt_int.h"
#include "rt_keys.h"
#include "rt_safetensors.h"
#include "rt_scan.h"

/* ---- where the checkpoint is ---- */

static bool is_folder(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* $HF_HOME/hub/models--ORG--NAME/snapshots/REVISION, the revision from refs/main. */
static bool hub_folder(const char *id, char *out, size_t size)
{
	const char *home = getenv("HF_HOME"), *user = getenv("HOME");
	char base[2048], name[512], revision[128] = "";
	size_t n = 0;
	for (const char *p = id; *p && n + 3 < sizeof name; p++) {
		if (*p == '/')
			name[n++] = '-';
		name[n++] = *p == '/' ? '-' : *p;
	}
	name[n] = 0;
	if (home)
		snprintf(base, sizeof base, "%s/hub/models--%s", home, name);
	else
		snprintf(base, sizeof base, "%s/.cache/huggingface/hub/models--%s", user ? user : "", name);
	snprintf(out, size, "%s/refs/main", base);
	FILE *f = fopen(out, "r");
	if (!f)
		return false;
	bool ok = fgets(revision, sizeof revision, f) != NULL;
	fclose(f);
	revision[strcspn(revision, "\r\n")] = 0;
	snprintf(out, size, "%s/snapshots/%s", base, revision);
	return ok && is_folder(out);
}

static bool from_config(const Rt *rt)
{
	return strcmp(rt_value_leaf(rt_setting(rt, "model._target_")), "from_config") == 0;
}

const char *rt_checkpoint_dir(Rt *rt)
{
	static char path[4096];
	const char *given = rt_setting(rt, "model.pretrained_model_name_or_path");
	if (from_config(rt))
		return NULL;
	if (rt_value_null(given) || !*given)
		rt_fail(rt, RT_EDATA, "no checkpoint: set model.pretrained_model_name_or_path");
	if (is_folder(given))
		return given;
	if (!hub_folder(given, path, sizeof path))
		rt_fail(rt, RT_EDATA, "the checkpoint %s is neither a folder nor a snapshot under $HF_HOME/hub", given);
	return path;
}

/* ---- config.json against the program ---- */

static char *read_whole(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	size_t size = 0;
	if (!f)
		return NULL;
	FILE *m = open_memstream(&text, n);
	char part[4096];
	for (size_t got; m && (got = fread(part, 1, sizeof part, f)) > 0 && size < 64 << 20; size += got)
		fwrite(part, 1, got, m);
	fclose(f);
	if (m)
		fclose(m);
	return text;
}

/* What a key of config.json must be: what the program was built for, or the only value there is. */
static const char *wanted(const RtProg *p, const char *key, bool *built)
{
	static const struct { const char *key, *only, *size; } keys[] = {
#define ONLY(name, size, value) {name, value, size},
#define SIZE(name, size) {name, NULL, size},
#define NONE(name)
#include "grammar/config.def"
#undef ONLY
#undef SIZE
#undef NONE
	};
	const char *only = NULL, *size = key;
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		if (strcmp(keys[i].key, key) != 0)
			continue;
		only = keys[i].only;
		size = keys[i].size;
	}
	*built = true;
	for (int i = 0; i < p->nconfig; i++)
		if (strcmp(p->config[i].key, size) == 0)
			return p->config[i].value;
	*built = false;
	return only;
}

static void check_member(Rt *rt, const char *path, const char *key, const char *value, size_t n)
{
	bool built;
	const char *want = wanted(rt->p, key, &built);
	if (!want || rt_json_equal(value, n, want))
		return;
	int shown = n > 100 ? 100 : (int)n;
	if (built)
		rt_fail(rt, RT_EDATA, "%s: `%s` is %.*s, the program was built for %s: build with --config %s", path, key,
		        shown, value, want, path);
	rt_fail(rt, RT_EDATA, "%s: `%s` is %.*s, only %s is supported", path, key, shown, value, want);
}

static bool check_object(Rt *rt, const char *path, const char *prefix, RtScan *s)
{
	char key[128], name[160];
	const char *value;
	size_t n;
	for (bool more = rt_scan_open(s, '{'); more; more = rt_scan_next(s, '}')) {
		if (!rt_scan_key(s, key, sizeof key))
			return false;
		snprintf(name, sizeof name, "%s%s", prefix, key);
		RtScan inner = *s;
		if (!rt_scan_value(s, &value, &n))
			return false;
		if (strcmp(name, "rope_parameters") == 0 && *value == '{')
			check_object(rt, path, "rope_parameters.", &inner);
		else
			check_member(rt, path, name, value, n);
	}
	return !s->error;
}

static void check_config(Rt *rt, const char *dir)
{
	char path[4200];
	size_t n = 0;
	snprintf(path, sizeof path, "%s/config.json", dir);
	char *text = read_whole(path, &n);
	if (!text)
		rt_fail(rt, RT_EDATA, "cannot read %s: %s", path, strerror(errno));
	RtScan s = rt_scan(text, n);
	if (!check_object(rt, path, "", &s))
		rt_fail(rt, RT_EDATA, "%s: byte %zu: %s", path, s.at + 1, s.error);
	free(text);
}

/* ---- tensors ---- */

void rt_expert_name(char *out, size_t size, const char *pattern, int64_t e)
{
	const char *hit = strstr(pattern, "{e}");
	if (hit && e >= 0)
		snprintf(out, size, "%.*s%lld%s", (int)(hit - pattern), pattern, (long long)e, hit + 3);
	else
		snprintf(out, size, "%s", pattern);
}

static const char *shape_text(int ndim, const int64_t *dim, char out[160])
{
	strcpy(out, "[");
	for (int d = 0; d < ndim; d++)
		snprintf(out + strlen(out), 160 - strlen(out), "%s%lld", d ? "," : "", (long long)dim[d]);
	return strcat(out, "]");
}

static void check_tensor(Rt *rt, const char *dir, const RtTensor *t, const char *name)
{
	char have[164], want[164];
	const RtStTensor *found = rt_st_find(rt->checkpoint, name);
	if (!found)
		rt_fail(rt, RT_EDATA, "%s: tensor %s is missing", dir, name);
	bool ok = found->ndim == t->ndim;
	for (int d = 0; ok && d < t->ndim; d++)
		ok = found->dim[d] == t->dim[d];
	if (!ok)
		rt_fail(rt, RT_EDATA, "%s: tensor %s is %s, the program was built for %s",
		        rt->checkpoint->files[found->file], name, shape_text(found->ndim, found->dim, have),
		        shape_text(t->ndim, t->dim, want));
	if (!rt_st_readable(found))
		rt_fail(rt, RT_EDATA, "%s: tensor %s is %s; F32, BF16 and F16 can be read",
		        rt->checkpoint->files[found->file], name, found->dtype);
}

void rt_checkpoint_open(Rt *rt)
{
	char err[RT_ST_ERR] = "", name[512];
	const char *dir = rt_checkpoint_dir(rt);
	if (!dir)
		return;
	check_config(rt, dir);
	rt->checkpoint = rt_st_open(dir, err);
	if (!rt->checkpoint)
		rt_fail(rt, RT_EDATA, "%s", err);
	for (int i = 0; i < rt->p->ntensor; i++) {
		const RtTensor *t = &rt->p->tensors[i];
		int64_t local = t->experts ? t->experts / rt->p->ep : 1;
		for (int64_t e = 0; e < local; e++) {
			rt_expert_name(name, sizeof name, t->name, rt->q % rt->p->ep * local + e);
			check_tensor(rt, dir, t, name);
		}
	}
}
