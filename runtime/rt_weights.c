/* rt_weights.c - the parameters a rank starts with: slices of a checkpoint, or from_config values.
 *
 * A rank reads the elements its shards own and nothing else; the first all-gather fills in the rest.
 * from_config: value i of tensor `name` depends on (seed, name, i) alone, so every layout starts
 * from the same weights. Laws: AutoModel 4.8 (normal, normal cut at 3 deviations, ones, zeros).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "rt_keys.h"
#include "rt_safetensors.h"
#include "rt_scan.h"
#include "rt_store.h"

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

/* Equal JSON values: numbers by value, everything else by text without blanks. */
static bool equal_values(const char *a, size_t n, const char *b)
{
	double x, y;
	char copy[64];
	if (n < sizeof copy) {
		memcpy(copy, a, n);
		copy[n] = 0;
		if (rt_text_float(copy, &x) && rt_text_float(b, &y))
			return x == y;
	}
	size_t i = 0;
	for (;; i++, b++) {
		while (i < n && strchr(" \t\r\n", a[i]))
			i++;
		while (*b && strchr(" \t\r\n", *b))
			b++;
		if (i == n || !*b || a[i] != *b)
			return i == n && !*b;
	}
}

static void check_member(Rt *rt, const char *path, const char *key, const char *value, size_t n)
{
	for (int i = 0; i < rt->p->nconfig; i++) {
		const RtSetting *c = &rt->p->config[i];
		if (strcmp(c->key, key) == 0 && !equal_values(value, n, c->value))
			rt_fail(rt, RT_EDATA, "%s: `%s` is %.*s, the program was built for %s: build with --config %s", path,
			        key, n > 100 ? 100 : (int)n, value, c->value, path);
	}
}

static bool check_object(Rt *rt, const char *path, RtScan *s)
{
	char key[128];
	const char *value;
	size_t n;
	for (bool more = rt_scan_open(s, '{'); more; more = rt_scan_next(s, '}')) {
		if (!rt_scan_key(s, key, sizeof key))
			return false;
		if (strcmp(key, "rope_parameters") == 0) {
			if (!check_object(rt, path, s))
				return false;
			continue;
		}
		if (!rt_scan_value(s, &value, &n))
			return false;
		check_member(rt, path, key, value, n);
	}
	return !s->error;
}

void rt_weights_check(Rt *rt)
{
	const char *dir = rt_checkpoint_dir(rt);
	char path[4200];
	size_t n = 0;
	if (!dir)
		return;
	snprintf(path, sizeof path, "%s/config.json", dir);
	char *text = read_whole(path, &n);
	if (!text)
		rt_fail(rt, RT_EDATA, "cannot read %s", path);
	RtScan s = rt_scan(text, n);
	if (!check_object(rt, path, &s))
		rt_fail(rt, RT_EDATA, "%s: byte %zu: %s", path, s.at, s.error);
	free(text);
}

/* ---- values ---- */

static uint64_t splitmix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static uint64_t fnv1a(const char *s)
{
	uint64_t h = 0xCBF29CE484222325u;
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001B3u;
	return h;
}

static const uint64_t golden = 0x9E3779B97F4A7C15u;

/* A standard normal number from 64 random bits (Box and Muller). */
static double normal(uint64_t bits)
{
	double u = ((double)(bits >> 32) + 0.5) * 0x1p-32, v = (double)(bits & 0xFFFFFFFF) * 0x1p-32;
	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static void make_values(const RtTensor *t, const char *name, uint64_t seed, int64_t first, int64_t n, float *out)
{
	uint64_t stream = fnv1a(name) ^ seed * golden;
	for (int64_t i = 0; i < n; i++) {
		uint64_t at = stream + (uint64_t)(first + i + 1) * golden;
		double x = t->init == '1';
		if (t->init == 'n' || t->init == 't') {
			uint64_t bits = splitmix(at);
			x = normal(bits);
			while (t->init == 't' && fabs(x) > 3)
				x = normal(bits = splitmix(bits + golden));
			x *= t->init_std;
		}
		out[i] = (float)x;
	}
}

typedef struct Source {
	RtSt *st;                /* NULL: from_config */
	const char *dir;
	uint64_t seed;
} Source;

static void expert_name(char *out, size_t size, const char *pattern, int64_t e)
{
	const char *hit = strstr(pattern, "{e}");
	if (hit)
		snprintf(out, size, "%.*s%lld%s", (int)(hit - pattern), pattern, (long long)e, hit + 3);
	else
		snprintf(out, size, "%s", pattern);
}

static void check_shape(Rt *rt, const Source *s, const RtTensor *t, const char *name, const RtStTensor *found)
{
	bool ok = found && found->ndim == t->ndim;
	for (int d = 0; ok && d < t->ndim; d++)
		ok = found->dim[d] == t->dim[d];
	if (ok)
		return;
	if (!found)
		rt_fail(rt, RT_EDATA, "%s: tensor %s is missing", s->dir, name);
	rt_fail(rt, RT_EDATA, "%s: tensor %s has %d dimensions of %lld .. elements, the program wants %d of %lld ..",
	        s->dir, name, found->ndim, (long long)(found->ndim ? found->dim[0] : 0), t->ndim,
	        (long long)(t->ndim ? t->dim[0] : 0));
}

/* What is read at a time, and the shard of the unit it goes to. */
typedef struct Target {
	const RtUnit *u;
	int64_t lo, hi;          /* elements of the unit that this rank owns */
	float *piece;            /* [RT_STORE_MAX] */
} Target;

/* Values are rounded to the dtype of checkpoints first; `param` is made from those. */
static void store_piece(Rt *rt, const Target *to, int64_t first, int64_t n)
{
	const RtUnit *u = to->u;
	rt_round(to->piece, n, u->stored);
	rt_store(rt, u->param, u->dtype, first, to->piece, n);
	if (u->stored != u->dtype)
		rt_store(rt, u->master, u->stored, first - to->lo, to->piece, n);
}

/* Fills the part of one tensor (element `at` of the unit on) that this rank owns. */
static void load_tensor(Rt *rt, const Source *s, const RtTensor *t, const char *name, int64_t at, int64_t elems,
                        const Target *to)
{
	char err[RT_ST_ERR];
	int64_t begin = at > to->lo ? at : to->lo, end = at + elems < to->hi ? at + elems : to->hi;
	const RtStTensor *found = s->st ? rt_st_find(s->st, name) : NULL;
	if (s->st)
		check_shape(rt, s, t, name, found);
	for (int64_t i = begin; i < end; i += RT_STORE_MAX) {
		int64_t n = end - i < RT_STORE_MAX ? end - i : RT_STORE_MAX;
		if (!s->st)
			make_values(t, name, s->seed, i - at, n, to->piece);
		else if (!rt_st_read(s->st, found, i - at, n, to->piece, err))
			rt_fail(rt, RT_EDATA, "%s", err);
		store_piece(rt, to, i, n);
	}
}

static void load_stack(Rt *rt, const Source *s, const RtTensor *t, float *piece)
{
	char name[512];
	const RtUnit *u = &rt->p->units[t->unit];
	int64_t n, lo = rt_unit_shard(rt, u, &n), elems = 1;
	Target to = {.u = u, .lo = lo, .hi = lo + n, .piece = piece};
	for (int d = 0; d < t->ndim; d++)
		elems *= t->dim[d];
	int64_t local = t->experts ? t->experts / rt->p->ep : 1;
	for (int64_t e = 0; e < local; e++) {
		expert_name(name, sizeof name, t->name, rt_comm_index(rt->comm, RT_COMM_EP) * local + e);
		load_tensor(rt, s, t, name, t->off + e * elems, elems, &to);
	}
}

void rt_weights_load(Rt *rt)
{
	char err[RT_ST_ERR] = "";
	Source s = {.dir = rt_checkpoint_dir(rt), .seed = (uint64_t)rt_value_int(rt_setting(rt, "seed"))};
	float *piece = malloc(RT_STORE_MAX * sizeof *piece);
	if (!piece)
		rt_fail(rt, RT_EMEMORY, "out of memory");
	if (s.dir && !(s.st = rt_st_open(s.dir, err)))
		rt_fail(rt, RT_EDATA, "%s", err);
	for (int i = 0; i < rt->p->ntensor; i++)
		if (rt->p->tensors[i].unit >= 0)
			load_stack(rt, &s, &rt->p->tensors[i], piece);
	rt_st_free(s.st);
	free(piece);
}
