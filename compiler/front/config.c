/* config.c - see config.h. A table says what keys mean that are no size of the model: one that the
 * model declares a size for is that size. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/rt_scan.h"
#include "../../runtime/rt_value.h"
#include "../base/file.h"
#include "../base/map.h"

enum { MAX_BYTES = 1 << 22, MAX_LIST = 20000 };

typedef struct KeyInfo {
	const char *name;
	const char *only;        /* the one value that means what models do without it; NULL any */
	const char *as;          /* name of the size it gives; NULL: its own */
} KeyInfo;

static const KeyInfo keys[] = {
	/* what must be as the models have it */
	{"scoring_func", "\"sigmoid\"", NULL}, {"topk_method", "\"noaux_tc\"", NULL},
	{"hidden_act", "\"silu\"", NULL}, {"attention_bias", "false", NULL}, {"mlp_bias", "false", NULL},
	{"attention_dropout", "0", NULL}, {"tie_word_embeddings", "false", NULL},
	{"indexer_rope_interleave", "true", NULL}, {"rope_interleave", "true", NULL},
	{"rope_scaling", "null", NULL}, {"moe_layer_freq", "1", NULL}, {"partial_rotary_factor", "1", NULL},
	{"rope_parameters.rope_type", "\"default\"", NULL}, {"rope_parameters.type", "\"default\"", NULL},
	{"quantization_config", "null", NULL}, {"rope_parameters", "null", NULL},
	/* other names of sizes */
	{"rope_parameters.rope_theta", NULL, "rope_theta"}, {"num_experts", NULL, "n_routed_experts"},
	{"num_local_experts", NULL, "n_routed_experts"},
	/* no meaning here */
	{"architectures", NULL, NULL}, {"model_type", NULL, NULL}, {"torch_dtype", NULL, NULL},
	{"dtype", NULL, NULL}, {"transformers_version", NULL, NULL}, {"use_cache", NULL, NULL},
	{"bos_token_id", NULL, NULL}, {"eos_token_id", NULL, NULL}, {"head_dim", NULL, NULL},
	{"qk_head_dim", NULL, NULL}, {"initializer_range", NULL, NULL}, {"ep_size", NULL, NULL},
	{"pretraining_tp", NULL, NULL}, {"max_position_embeddings", NULL, NULL}, {"layer_types", NULL, NULL},
	{"num_nextn_predict_layers", NULL, NULL}, {"index_topk_freq", NULL, NULL},
	{"index_skip_topk_offset", NULL, NULL}, {"_name_or_path", NULL, NULL}, {"auto_map", NULL, NULL},
	{"rope_parameters.partial_rotary_factor", "1", "partial_rotary_factor"}, {"aux_loss_alpha", NULL, NULL},
	{"router_aux_loss_coef", NULL, NULL}, {"seq_aux", NULL, NULL}, {"output_router_logits", NULL, NULL},
};

static const char *const sizes[] = {
	"vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "rms_norm_eps", "pad_token_id",
	"first_k_dense_replace", "mlp_layer_types", "indexer_types", "num_attention_heads",
	"num_key_value_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
	"v_head_dim", "rope_theta", "index_n_heads", "index_head_dim", "index_topk", "n_routed_experts",
	"num_experts_per_tok", "n_shared_experts", "moe_intermediate_size", "routed_scaling_factor",
	"norm_topk_prob", "n_group", "topk_group",
};

typedef struct Reader {
	Arena *a;
	Diag *d;
	RtScan s;
	uint32_t file;
	VEC(SizeValue) out;
	Map seen;                /* key to its byte */
	const char *dtype, *architecture;
} Reader;

static Span here(const Reader *r, size_t begin)
{
	return (Span){r->file, (uint32_t)begin, (uint32_t)(r->s.at > begin ? r->s.at : begin + 1)};
}

static const KeyInfo *find_key(const char *name)
{
	for (uint32_t i = 0; i < LEN(keys); i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static bool is_size(const char *name)
{
	for (uint32_t i = 0; i < LEN(sizes); i++)
		if (strcmp(sizes[i], name) == 0)
			return true;
	return false;
}

static bool same_value(const char *text, const char *want)
{
	double x, y;
	if (rt_text_float(text, &x) && rt_text_float(want, &y))
		return x == y;
	return strcmp(text, want) == 0;
}

static bool read_elements(Reader *r, SizeValue *v, const char *name, Span at)
{
	VEC(const char *) texts = {0};
	VEC(int64_t) ints = {0};
	char text[256];
	for (bool more = rt_scan_open(&r->s, '['); more; more = rt_scan_next(&r->s, ']')) {
		int64_t x;
		size_t back = r->s.at;
		if (texts.n + ints.n >= MAX_LIST)
			break;
		if (rt_scan_int(&r->s, &x)) {
			vec_push(r->a, &ints, x);
			continue;
		}
		r->s.error = NULL;
		r->s.at = back;
		if (!rt_scan_string(&r->s, text, sizeof text))
			return false;
		vec_push(r->a, &texts, arena_strdup(r->a, text));
	}
	if (texts.n && ints.n) {
		diag_error(r->d, at, "`%s` mixes numbers and texts", name);
		return true;
	}
	v->kind = ints.n ? SIZE_INTS : SIZE_STRINGS;
	v->strings = texts.v;
	v->ints = ints.v;
	v->n = texts.n + ints.n;
	return !r->s.error;
}

static bool same_size(const SizeValue *x, const SizeValue *y)
{
	if (x->kind != y->kind || x->i != y->i || x->f != y->f || x->n != y->n)
		return false;
	for (uint32_t k = 0; k < x->n; k++)
		if (x->kind == SIZE_INTS ? x->ints[k] != y->ints[k] : strcmp(x->strings[k], y->strings[k]) != 0)
			return false;
	return x->kind != SIZE_STRING || strcmp(x->s, y->s) == 0;
}

/* Some sizes have two names; both may be given when they agree. */
static void add_size(Reader *r, const SizeValue *v)
{
	for (uint32_t k = 0; k < r->out.n; k++) {
		const SizeValue *old = &r->out.v[k];
		if (strcmp(old->name, v->name) != 0)
			continue;
		if (!same_size(old, v)) {
			diag_error(r->d, v->span, "`%s` gives `%s` another value", v->key, v->name);
			diag_note(r->d, old->span, "the first one is here");
		}
		return;
	}
	vec_push(r->a, &r->out, *v);
}

static bool is_integer(const char *text)
{
	return text[strspn(text, "-0123456789")] == 0;
}

/* The value at the reader as a size. */
static bool read_size(Reader *r, SizeValue v, size_t begin)
{
	const char *text = v.text;
	if (text[0] == '[') {
		size_t end = r->s.at;
		r->s.at = begin;
		if (!read_elements(r, &v, v.name, v.span))
			return false;
		r->s.at = end;
	} else if (text[0] == '"') {
		v.kind = SIZE_STRING;
		v.s = arena_strndup(r->a, text + 1, strlen(text) - 2);
	} else if (strcmp(text, "null") == 0) {
		v.kind = SIZE_NONE;
	} else if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
		v.kind = SIZE_BOOL;
		v.i = text[0] == 't';
	} else if (rt_text_int(text, &v.i)) {
		v.kind = SIZE_INT;
	} else if (!is_integer(text) && rt_text_float(text, &v.f)) {
		v.kind = SIZE_FLOAT;
	} else {
		diag_error(r->d, v.span, text[0] == '{' ? "`%s` is a number, a text or a list, not an object"
		                                        : "the number given for `%s` is too large", v.key);
		return true;
	}
	add_size(r, &v);
	return true;
}

/* Is the text a value that a size can have? */
static bool is_plain(const char *text)
{
	RtScan s = rt_scan(text, strlen(text));
	uint32_t ints = 0, texts = 0;
	char word[256];
	int64_t x;
	if (text[0] != '[')
		return text[0] != '{';
	for (bool more = rt_scan_open(&s, '['); more; more = rt_scan_next(&s, ']')) {
		RtScan back = s;
		bool is_int = rt_scan_int(&s, &x);
		if (!is_int) {
			s = back;
			if (!rt_scan_string(&s, word, sizeof word))
				return false;
		}
		ints += is_int;
		texts += !is_int;
	}
	return !s.error && (!ints || !texts) && ints + texts <= MAX_LIST;
}

static const char *near_key(const char *name)
{
	const char *known[LEN(keys) + LEN(sizes)];
	uint32_t n = 0;
	for (uint32_t k = 0; k < LEN(keys); k++)
		known[n++] = keys[k].name;
	for (uint32_t k = 0; k < LEN(sizes); k++)
		known[n++] = sizes[k];
	return closest(name, known, n);
}

/* The first text of a list or a text; NULL when it is something else. */
static const char *first_text(Reader *r, const char *value)
{
	char text[128];
	RtScan s = rt_scan(value, strlen(value));
	bool ok = (value[0] != '[' || rt_scan_open(&s, '[')) && rt_scan_string(&s, text, sizeof text);
	return ok ? arena_strdup(r->a, text) : NULL;
}

/* What becomes of the value when the model has no such size. */
static SizeValue meaning(Reader *r, const KeyInfo *k, const char *name, const char *text, Span key_at, Span at)
{
	SizeValue v = {.name = arena_strdup(r->a, k && k->as ? k->as : name), .from_config = true, .span = at};
	v.unless = k && k->only ? UNLESS_WRONG : k && !k->as ? UNLESS_IGNORED : is_size(v.name) ? UNLESS_UNUSED
	                                                                                     : UNLESS_UNKNOWN;
	if (v.unless == UNLESS_WRONG && same_value(text, k->only))
		v.unless = UNLESS_IGNORED;
	if (v.unless == UNLESS_WRONG)
		v.only = k->only;
	if (v.unless == UNLESS_UNKNOWN) {
		v.span = key_at;
		v.near = near_key(name);
	}
	v.key = name;
	v.text = text;
	return v;
}

static bool member(Reader *r, const char *name, Span key_at)
{
	const char *begin;
	size_t n, start;
	const KeyInfo *k = find_key(name);
	if (!rt_scan_value(&r->s, &begin, &n))
		return false;
	start = (size_t)(begin - r->s.text);
	char *text = arena_strndup(r->a, begin, n);
	if (strcmp(name, "torch_dtype") == 0 || strcmp(name, "dtype") == 0)
		r->dtype = first_text(r, text);
	if (strcmp(name, "architectures") == 0)
		r->architecture = first_text(r, text);
	SizeValue v = meaning(r, k, name, text, key_at, here(r, start));
	if (v.unless == UNLESS_UNUSED || is_plain(text))
		return read_size(r, v, start);
	v.kind = SIZE_OTHER;
	add_size(r, &v);
	return true;
}

static int peek(Reader *r)
{
	while (r->s.at < r->s.n && r->s.text[r->s.at] && strchr(" \t\r\n", r->s.text[r->s.at]))
		r->s.at++;
	return r->s.at < r->s.n ? (unsigned char)r->s.text[r->s.at] : -1;
}

/* The key at the reader; *twice: it was there before. */
static bool read_key(Reader *r, const char *prefix, const char **name, Span *at, bool *twice)
{
	char key[128];
	int64_t before;
	peek(r);
	size_t begin = r->s.at;
	if (!rt_scan_key(&r->s, key, sizeof key))
		return false;
	*name = arena_printf(r->a, "%s%s", prefix, key);
	*at = (Span){r->file, (uint32_t)begin, (uint32_t)(begin + strlen(key) + 2)};
	*twice = map_get(&r->seen, *name, &before);
	if (*twice) {
		diag_error(r->d, *at, "`%s` stands here twice", *name);
		diag_note(r->d, (Span){r->file, (uint32_t)before, (uint32_t)before + (at->end - at->begin)},
		          "the first one is here");
	}
	map_set(&r->seen, *name, (int64_t)begin);
	return true;
}

static bool object(Reader *r, const char *prefix)
{
	const char *name;
	Span at;
	bool twice, ok = true;
	for (bool more = rt_scan_open(&r->s, '{'); ok && more; more = ok && rt_scan_next(&r->s, '}')) {
		if (!read_key(r, prefix, &name, &at, &twice))
			return false;
		if (twice)
			ok = rt_scan_skip(&r->s);
		else if (strcmp(name, "rope_parameters") == 0 && peek(r) == '{')
			ok = object(r, "rope_parameters.");
		else
			ok = member(r, name, at);
	}
	return ok && !r->s.error;
}

Config *config_parse(Arena *a, Diag *d, const char *path, const char *text, size_t n)
{
	Reader r = {.a = a, .d = d, .s = rt_scan(text, n), .seen = map_new(a)};
	uint32_t errors = diag_errors(d);
	r.file = diag_add_source(d, path, text, (uint32_t)n);
	if (n > MAX_BYTES) {
		diag_error(d, (Span){0}, "%s: a config.json of more than %d bytes", path, MAX_BYTES);
		return NULL;
	}
	if (!object(&r, "") || !rt_scan_end(&r.s))
		diag_error(d, here(&r, r.s.at < n ? r.s.at : n), "%s", r.s.error ? r.s.error : "more after the object");
	if (diag_errors(d) != errors)
		return NULL;
	Config *c = ARENA_NEW(a, Config);
	c->sizes = r.out.v;
	c->n = r.out.n;
	c->dtype = r.dtype;
	c->architecture = r.architecture;
	return c;
}

Config *config_load(Arena *a, Diag *d, const char *path)
{
	size_t n = 0;
	char *text = file_read(a, path, &n);
	if (!text) {
		diag_error(d, (Span){0}, "cannot read the configuration %s: %s", path, strerror(errno));
		return NULL;
	}
	return config_parse(a, d, path, text, n);
}
