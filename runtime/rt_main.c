/* rt_main.c - a rank: reads its program from its own executable file, joins the others, trains.
 *
 * Checks come in the order usage and world (2), environment (3), data and checkpoint (4),
 * rendezvous (5), so that a mistake is told before anything waits.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_choice.h"
#include "rt_keys.h"
#include "rt_launcher.h"
#include "rt_lr.h"
#include "rt_message.h"
#include "rt_trailer.h"

void rt_fail(Rt *rt, int status, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	rt_say_list(rt->rank, fmt, ap);
	va_end(ap);
	if (rt->comm)
		rt_comm_abort(rt->comm, status);
	exit(status);
}

const char *rt_setting(const Rt *rt, const char *key)
{
	for (int i = 0; i < rt->p->nsetting; i++)
		if (strcmp(rt->p->settings[i].key, key) == 0)
			return rt->p->settings[i].value;
	int known = rt_key_find(key);
	return known >= 0 && rt_key_at(known)->initial ? rt_key_at(known)->initial : "";
}

/* ---- command line ---- */

typedef struct Args {
	bool help, info;
	const char *dump_dir;
	int64_t dump_step;
	const char *record, *replay;     /* selections */
} Args;

static _Noreturn void usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void usage(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	rt_say_list(RT_NO_RANK, fmt, ap);
	va_end(ap);
	rt_say(RT_NO_RANK, "help: --help lists the options of a rank");
	exit(RT_EUSAGE);
}

static void override(Rt *rt, const char *path, const char *value)
{
	char err[RT_KEY_ERR];
	if (!strchr(path, '.') && rt_key_find(path) < 0 && !rt_key_is_section(path))
		usage("unknown option --%s", path);
	char *text = rt_key_override(path, value, err);
	RtProg *p = rt->p;
	if (!text)
		usage("%s", err);
	for (int i = 0; i < p->nsetting; i++)
		if (strcmp(p->settings[i].key, path) == 0) {
			free(p->settings[i].value);
			p->settings[i].value = text;
			return;
		}
	p->settings = realloc(p->settings, (size_t)(p->nsetting + 1) * sizeof *p->settings);
	p->settings[p->nsetting++] = (RtSetting){strdup(path), text};
}

static bool named(int argc, char **argv, int *i, const char *name, const char **value)
{
	size_t n = strlen(name);
	if (strncmp(argv[*i], name, n) != 0)
		return false;
	if (argv[*i][n] == '=') {
		*value = argv[*i] + n + 1;
		return true;
	}
	if (argv[*i][n])
		return false;
	if (*i + 1 == argc)
		usage("%s needs a value", name);
	*value = argv[++*i];
	return true;
}

static Args parse_args(Rt *rt, int argc, char **argv)
{
	Args a = {.dump_step = -1};
	const char *value;
	for (int i = 1; i < argc; i++) {
		char *path;
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			a.help = true;
		} else if (strcmp(argv[i], "--info") == 0) {
			a.info = true;
		} else if (named(argc, argv, &i, "--steps", &value)) {
			override(rt, "step_scheduler.max_steps", value);
		} else if (named(argc, argv, &i, "--dump-step", &value)) {
			if (!rt_text_int(value, &a.dump_step) || a.dump_step < 0)
				usage("--dump-step is the number of a step, not `%s`", value);
		} else if (named(argc, argv, &i, "--dump-dir", &value)) {
			a.dump_dir = value;
		} else if (named(argc, argv, &i, "--record-selections", &value)) {
			a.record = value;
		} else if (named(argc, argv, &i, "--replay-selections", &value)) {
			a.replay = value;
		} else if (strncmp(argv[i], "--", 2) == 0 && rt_key_arg(argc, argv, &i, &path, &value)) {
			override(rt, path, value);
			free(path);
			i--;
		} else {
			usage("unknown option `%s`", argv[i]);
		}
	}
	if (a.dump_step >= 0 && !a.dump_dir)
		usage("--dump-step needs --dump-dir DIR");
	return a;
}

static void print_help(const RtProg *p)
{
	printf("A rank of %s: pipeline rank %d of %d, written by glmc.\n\n"
	       "usage: rank-NNN [options]      under mpirun or srun with %d ranks, see launch.sh\n\n"
	       "  --steps N               optimizer steps (step_scheduler.max_steps)\n"
	       "  --dump-step K           write gradients and parameters of step K\n"
	       "  --dump-dir DIR          there\n"
	       "  --record-selections F   write the chosen experts and keys of every step to F.NNN, one file a rank\n"
	       "  --replay-selections F   take them from there\n"
	       "  --info                  print program and memory and end\n"
	       "  --a.b.c=value           override a key of the recipe that does not shape the program\n\n"
	       "environment: RT_TRACE=1 prints every instruction, RT_PROFILE=1 at the end the time of each kernel\n",
	       p->model, p->pp_rank, p->pp, p->world);
}

static void print_info(const RtProg *p)
{
	printf("model          %s\npipeline rank  %d of %d\nranks          %d (dp %d, ep %d, ep_shard %d)\n"
	       "microbatches   %d a step in %d runs, %d documents each, at most %lld tokens\n"
	       "instructions   %d with %d kernels\nmemory         %llu bytes\n",
	       p->model, p->pp_rank, p->pp, p->world, p->dp, p->ep, p->ep_shard, p->microbatches, p->runs,
	       p->docs_max, (long long)p->tokens_max, p->ninstr, p->nkernel, (unsigned long long)p->arena_bytes);
	for (int i = 0; i < p->nunit; i++)
		printf("  unit %-40s %lld elements\n", p->units[i].name, (long long)p->units[i].elems);
}

/* ---- set-up ---- */

static void read_program(Rt *rt)
{
	char err[200];
	size_t n = 0;
	char *text = rt_trailer_read("/proc/self/exe", "program", &n, err);
	rt->p = text ? rt_prog_read(text, n, err) : NULL;
	free(text);
	if (!rt->p) {
		rt_say(RT_NO_RANK, "%s", err);
		exit(RT_EUSAGE);
	}
	rt->own = rt_own(rt->p);
}

static void check_world(Rt *rt)
{
	char err[200], notes[600];
	int world;
	const RtProg *p = rt->p;
	if (!rt_comm_rank(&rt->rank, &world, err) || (p->world > 1 && !rt_launcher_check(err, sizeof err))) {
		rt_say(RT_NO_RANK, "%s", err);
		exit(RT_EUSAGE);
	}
	if (world != p->world) {
		rt_launcher_unused(notes, sizeof notes);
		rt_say(rt->rank, "started as one of %d ranks, the program is for %d\n"
		                 "%shelp: launch.sh or `glmc run` start the right number", world, p->world, notes);
		exit(RT_EUSAGE);
	}
	if (rt->rank / p->dp != p->pp_rank) {
		rt_say(rt->rank, "belongs to pipeline rank %d, this file to %d: start rank-%03d", rt->rank / p->dp,
		       p->pp_rank, rt->rank);
		exit(RT_EUSAGE);
	}
	rt->q = rt->rank % p->dp;
}

static int64_t vocabulary(const RtProg *p)
{
	for (int i = 0; i < p->nconfig; i++)
		if (strcmp(p->config[i].key, "vocab_size") == 0)
			return rt_value_int(p->config[i].value);
	return INT32_MAX;
}

static void open_data(Rt *rt)
{
	const RtProg *p = rt->p;
	char err[400];
	const char *target = rt_value_leaf(rt_setting(rt, "dataset._target_"));
	if (strcmp(target, "TokenIds") != 0)
		rt_fail(rt, RT_EDATA, "the dataset %s cannot be read yet: give rows of token ids, dataset._target_: TokenIds",
		        rt_setting(rt, "dataset._target_"));
	RtDataOptions o = {
		.path = rt_setting(rt, "dataset.path_or_dataset"), .seq_max = p->seq_max, .vocab = vocabulary(p),
		.seed = (uint32_t)rt_value_int(rt_setting(rt, "seed")),
		.shuffle = rt_value_bool(rt_setting(rt, "dataloader.shuffle")), .dp = p->dp, .q = rt->q,
		.docs = p->docs_max, .mbs = p->microbatches / p->runs, .runs = p->runs,
	};
	rt->data = rt_data_open(&o, err);
	if (!rt->data)
		rt_fail(rt, RT_EDATA, "%s", err);
	if (!rt_batch_init(&rt->batch, p->microbatches, p->docs_max, p->tokens_max))
		rt_fail(rt, RT_EMEMORY, "out of memory");
}

static bool new_loads(Rt *rt)
{
	rt->load = calloc((size_t)rt->p->nbalance + 1, sizeof *rt->load);
	bool ok = rt->load != NULL;
	for (int i = 0; ok && i < rt->p->nbalance; i++)
		ok = (rt->load[i] = calloc((size_t)rt->p->balances[i].experts, sizeof **rt->load)) != NULL;
	return ok;
}

static void reserve(Rt *rt)
{
	rt_dev_reserve(rt);
	if (!new_loads(rt) || !rt_route_init(rt))
		rt_fail(rt, RT_EMEMORY, "out of memory");
}

static void join(Rt *rt)
{
	char err[1000] = "";
	double minutes = rt_value_float(rt_setting(rt, "dist_env.timeout_minutes"));
	rt->comm = rt_comm_new(rt->p, rt, rt->rank, minutes * 60, err, sizeof err);
	if (!rt->comm)
		rt_fail(rt, RT_ECOMM, "%s", err);
}

static void check_machine(Rt *rt)
{
	char err[1000] = "";
	rt_dev_open(rt);
	if (!rt_comm_check(rt->p, err, sizeof err))
		rt_fail(rt, RT_EENV, "%s", err);
}

static int64_t total_steps(const Rt *rt)
{
	int64_t epoch = rt_data_steps(rt->data), epochs = 10, most = INT64_MAX;
	const char *max = rt_setting(rt, "step_scheduler.max_steps"), *n = rt_setting(rt, "step_scheduler.num_epochs");
	if (!rt_value_null(max))
		most = rt_value_int(max);
	if (!rt_value_null(n))
		epochs = rt_value_int(n);
	else if (most != INT64_MAX)
		return most;
	return epoch * epochs < most ? epoch * epochs : most;
}

static void train(Rt *rt)
{
	int64_t steps = total_steps(rt);
	RtLr lr = rt_lr_new(rt, steps);
	double power1 = 1, power2 = 1, beta[2] = {0.9, 0.999};
	rt_value_floats(rt_setting(rt, "optimizer.betas"), beta, 2);
	rt_metrics_start(rt);
	for (rt->step = 0; rt->step < steps; rt->step++) {
		power1 *= beta[0];
		power2 *= beta[1];
		rt->env.bias1 = (float)(1 - power1);
		rt->env.bias2 = (float)(1 - power2);
		rt->lr = rt_lr_at(&lr, rt->step);
		rt_run_step(rt);
	}
}

int main(int argc, char **argv)
{
	static Rt state;
	Rt *rt = &state;
	setvbuf(stdout, NULL, _IOLBF, 0);
	read_program(rt);
	Args args = parse_args(rt, argc, argv);
	if (args.help || args.info) {
		(args.help ? print_help : print_info)(rt->p);
		return RT_OK;
	}
	check_world(rt);
	rt->dump_step = args.dump_step;
	rt->dump_dir = args.dump_dir;
	rt->trace = getenv("RT_TRACE") != NULL;
	check_machine(rt);
	open_data(rt);
	rt_checkpoint_open(rt);
	rt_metrics_open(rt);
	rt_dump_open(rt);
	join(rt);
	rt_comm_where(rt->comm, -1, "reading weights");
	reserve(rt);
	rt_weights_load(rt);
	rt->profile = rt_profile_new(rt->p);
	rt->choice = rt_choice_new(rt, args.record, args.replay);
	train(rt);
	rt_choice_free(rt);
	rt_profile_print(rt->profile, rt->rank);
	rt_profile_free(rt->profile);
	rt_comm_where(rt->comm, rt->p->ninstr, "end");
	rt_comm_barrier(rt->comm);
	rt_comm_free(rt->comm);
	rt_dev_close(rt);
	return RT_OK;
}
